// Calls on the same connection as one with 16 KiB of metadata, as tracing sends.
//
//   node headers.mjs PROTO_DIR TARGET CERTIFICATES_DIR

import assert from 'node:assert/strict';

import grpc from '@grpc/grpc-js';

import { call, deadline, load, mintCallId, mintToken } from './service.mjs';

const METADATA_BYTES = 16 << 10;

const [protoDir, target, certificates] = process.argv.slice(2);
const service = load({ protoDir, target, certificates });
const client = service.connect('client');

function describeWith(metadata) {
  return new Promise((resolve, reject) => {
    client.DescribeCalls({ call_ids: [mintCallId()] }, metadata, deadline(),
      (error, response) => (error ? reject(error) : resolve(response)));
  });
}

const callId = mintCallId();
const put = await call(client, 'PutInputs', {
  items: [{ call_id: callId, payload: { data: Buffer.from('in') } }],
});
assert.equal(service.summary(put.results[0].status), 'OK');

const polls = Array.from({ length: 8 }, () => call(client, 'ClaimOutputs', {
  call_ids: [callId], claim_token: mintToken(), wait: { seconds: 3 },
}));
const metadata = new grpc.Metadata();
metadata.set('baggage', 'b'.repeat(METADATA_BYTES));
for (let i = 0; i < 10; ++i) {
  const described = await describeWith(metadata);
  assert.equal(described.results.length, 1);
}
for (const poll of polls) assert.equal((await poll).pending_count, 1);

client.close();
console.log('neighbours, by node');
