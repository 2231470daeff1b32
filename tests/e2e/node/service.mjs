// mayfly.v1.FunctionIo for a Node program, from the published proto only.

import grpc from '@grpc/grpc-js';
import protoLoader from '@grpc/proto-loader';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';

const RPC_TIMEOUT_MS = 30_000;

// Longs as text: a fence has 64 bits, a number of JavaScript keeps 53.
const LOADER_OPTIONS = { longs: String, enums: String, keepCase: true, defaults: true };

// Reads the proto and gives connect(role) and summary(status).
export function load({ protoDir, target, certificates }) {
  const definition = protoLoader.loadSync(
    ['mayfly/v1/function_io.proto', 'google/rpc/error_details.proto'],
    { ...LOADER_OPTIONS, includeDirs: [protoDir] });
  const { FunctionIo } = grpc.loadPackageDefinition(definition).mayfly.v1;
  const pem = (name) => readFileSync(`${certificates}/${name}`);

  function connect(role) {
    const credentials = grpc.credentials.createSsl(
      pem('ca.pem'), pem(`${role}.key`), pem(`${role}.pem`));
    return new FunctionIo(target, credentials);
  }

  // "OK", or the canonical code and the reason: "NOT_FOUND CALL_UNKNOWN".
  function summary(status) {
    if (!status || status.code === 0) return 'OK';
    const detail = status.details.find((any) => any.type_url.endsWith('/google.rpc.ErrorInfo'));
    const reason = detail ? definition['google.rpc.ErrorInfo'].deserialize(detail.value).reason : '';
    return `${grpc.status[status.code]} ${reason}`;
  }

  return { connect, summary };
}

export function deadline() {
  return { deadline: Date.now() + RPC_TIMEOUT_MS };
}

// One unary RPC.
export function call(client, rpc, request) {
  return new Promise((resolve, reject) => {
    client[rpc](request, deadline(), (error, response) => (error ? reject(error) : resolve(response)));
  });
}

// A UUIDv7 (RFC 9562) for now.
export function mintCallId() {
  const id = randomBytes(16);
  id.writeUIntBE(Date.now(), 0, 6);
  id[6] = (id[6] & 0x0f) | 0x70;
  id[8] = (id[8] & 0x3f) | 0x80;
  return id.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
}

export function mintToken() {
  return randomBytes(16);
}

// CRC-32C (RFC 3720) of `data`, going on from that of what came before.
export function crc32c(data, before = 0) {
  let crc = ~before;
  for (const byte of data) crc = CRC_TABLE[(crc ^ byte) & 0xff] ^ (crc >>> 8);
  return ~crc >>> 0;
}

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; ++bit) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  return crc;
});
