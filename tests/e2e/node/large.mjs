// Streamed payloads: an input is uploaded in two streams, of which the first breaks, and downloaded
// by a worker. Its output is uploaded, claimed as a notice, downloaded and acknowledged.
//
//   node large.mjs PROTO_DIR TARGET CERTIFICATES_DIR

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';

import { call, crc32c, deadline, load, mintCallId, mintToken } from './service.mjs';

const SEGMENT_BYTES = 1 << 20;

const [protoDir, target, certificates] = process.argv.slice(2);
const service = load({ protoDir, target, certificates });
const client = service.connect('client');
const worker = service.connect('worker');

function openUpload(from) {
  let answered;
  const answer = new Promise((resolve, reject) => {
    answered = (error, response) => (error ? reject(error) : resolve(response));
  });
  return { stream: from.Upload(deadline(), answered), answer };
}

// Sends a header and the segments from `begin` to `end`.
function sendSegments(stream, header, data, begin, end) {
  stream.write({ header: { ...header, offset_bytes: begin } });
  for (let offset = begin; offset < end; offset += SEGMENT_BYTES) {
    const segment = data.subarray(offset, Math.min(offset + SEGMENT_BYTES, end));
    stream.write({ segment: { offset_bytes: offset, data: segment } });
  }
}

async function upload(from, header, data, begin = 0) {
  const { stream, answer } = openUpload(from);
  sendSegments(stream, header, data, begin, data.length);
  stream.write({ finish: { size_bytes: data.length, crc32c: crc32c(data) } });
  stream.end();
  return answer;
}

// The header, the data and the finish; fails when the stream ends before it.
function download(from, request) {
  return new Promise((resolve, reject) => {
    const pieces = [];
    let header, finish;
    const stream = from.Download(request, deadline());
    stream.on('data', (response) => {
      if (response.header) header = response.header;
      if (response.segment) pieces.push(response.segment.data);
      if (response.finish) finish = response.finish;
    });
    stream.on('error', reject);
    stream.on('end', () => {
      if (!finish) return; // an error comes
      resolve({ header, data: Buffer.concat(pieces), finish });
    });
  });
}

const callId = mintCallId();
const question = randomBytes(3 * SEGMENT_BYTES + 12345);
const uploadId = mintToken();
const inputHeader = {
  upload_id: uploadId,
  input: { call_id: callId, payload: { content_type: 'application/x-large' }, ttl: { seconds: 600 } },
};

// The first stream is cut when a part of it is kept.
const broken = openUpload(client);
broken.answer.catch(() => {});
sendSegments(broken.stream, inputHeader, question, 0, 2 * SEGMENT_BYTES);
let committed = 0;
while (committed === 0) {
  const query = await call(client, 'QueryUpload', { upload_id: uploadId }).catch((error) => {
    if (error.code !== 5) throw error; // NOT_FOUND: the header is still on its way
    return { committed_bytes: '0' };
  });
  committed = Number(query.committed_bytes);
}
broken.stream.cancel();
const none = await call(worker, 'GetInputs', { call_ids: [callId] });
assert.equal(service.summary(none.results[0].status), 'NOT_FOUND CALL_UNKNOWN');

const query = await call(client, 'QueryUpload', { upload_id: uploadId });
assert.equal(query.call_id, callId);
const begin = Number(query.committed_bytes);
assert.ok(begin === SEGMENT_BYTES || begin === 2 * SEGMENT_BYTES, `${begin} bytes are kept`);
const stored = await upload(client, inputHeader, question, begin);
assert.equal(stored.call_id, callId);

// It is more than a message shall bring: that it is there, and its size, say to download it.
const noted = await call(worker, 'GetInputs', { call_ids: [callId] });
assert.equal(service.summary(noted.results[0].status), 'OK');
assert.equal(noted.results[0].payload, null);
assert.equal(Number(noted.results[0].size_bytes), question.length);

const got = await download(worker, { call_id: callId, kind: 'PAYLOAD_KIND_INPUT' });
assert.ok(got.data.equals(question));
assert.equal(got.header.payload.content_type, 'application/x-large');
assert.equal(Number(got.finish.size_bytes), question.length);
assert.equal(got.finish.crc32c, crc32c(question));

const answer = randomBytes(3 * SEGMENT_BYTES);
answer.reverse();
await upload(worker, {
  upload_id: mintToken(),
  output: { call_id: callId, attempt: 1, outcome: 'OUTCOME_SUCCESS' },
  size_bytes: answer.length,
}, answer);

const token = mintToken();
const claimed = await call(client, 'ClaimOutputs', {
  call_ids: [callId], claim_token: token, max_bytes: answer.length - 1,
});
const [notice] = claimed.outputs;
assert.equal(notice.payload, null);
assert.equal(Number(notice.size_bytes), answer.length);

const claim = { call_id: callId, claim_token: token, fence: notice.fence };
const output = await download(client, { ...claim, kind: 'PAYLOAD_KIND_OUTPUT' });
assert.ok(output.data.equals(answer));
assert.equal(output.header.outcome, 'OUTCOME_SUCCESS');
const half = await download(client, {
  ...claim, kind: 'PAYLOAD_KIND_OUTPUT', offset_bytes: SEGMENT_BYTES + 1,
});
assert.ok(half.data.equals(answer.subarray(SEGMENT_BYTES + 1)));
assert.equal(half.finish.crc32c, crc32c(answer)); // of the whole

const acked = await call(client, 'AckOutputs', { items: [{ ...claim, crc32c: crc32c(answer) }] });
assert.equal(service.summary(acked.results[0].status), 'OK');
await assert.rejects(
  download(client, { ...claim, kind: 'PAYLOAD_KIND_OUTPUT' }),
  { code: 5 }, // NOT_FOUND: consumed
);

client.close();
worker.close();
console.log('a large life, by node');
