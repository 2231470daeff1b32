// The life of one call with unary RPCs: put, get, put, claim, ack, and a second claim that finds it
// consumed.
//
//   node life.mjs PROTO_DIR TARGET CERTIFICATES_DIR

import assert from 'node:assert/strict';

import { call, crc32c, load, mintCallId, mintToken } from './service.mjs';

const [protoDir, target, certificates] = process.argv.slice(2);
const service = load({ protoDir, target, certificates });
const client = service.connect('client');
const worker = service.connect('worker');

assert.equal(crc32c(Buffer.alloc(32)), 0x8a9136aa); // RFC 3720, B.4

const callId = mintCallId();
const question = Buffer.from([0, 255, 10, 13, 128]);
const answer = Buffer.from('forty-two');

const put = await call(client, 'PutInputs', {
  items: [{
    call_id: callId,
    payload: { data: question, content_type: 'application/x-question', labels: { from: 'node' } },
    ttl: { seconds: 600 },
  }],
});
assert.equal(service.summary(put.results[0].status), 'OK');
assert.equal(put.results[0].call_id, callId);
const livesS = Number(put.results[0].deadline_time.seconds) - Date.now() / 1000;
assert.ok(livesS > 500 && livesS < 601, `the input lives ${livesS} s`);

const pending = await call(client, 'ClaimOutputs', { call_ids: [callId], claim_token: mintToken() });
assert.equal(pending.pending_count, 1);
assert.deepEqual(pending.outputs, []);

const got = await call(worker, 'GetInputs', { call_ids: [callId, mintCallId()] });
assert.equal(service.summary(got.results[0].status), 'OK');
assert.deepEqual(got.results[0].payload.data, question);
assert.equal(got.results[0].payload.content_type, 'application/x-question');
assert.deepEqual(got.results[0].payload.labels, { from: 'node' });
assert.equal(got.results[0].payload.crc32c, crc32c(question));
assert.equal(service.summary(got.results[1].status), 'NOT_FOUND CALL_UNKNOWN');

const answered = await call(worker, 'PutOutputs', {
  items: [{ call_id: callId, outcome: 'OUTCOME_FAILURE', payload: { data: answer } }],
});
assert.equal(service.summary(answered.results[0].status), 'OK');

const token = mintToken();
const claimed = await call(client, 'ClaimOutputs', {
  call_ids: [callId], claim_token: token, wait: { seconds: 5 },
});
const [output] = claimed.outputs;
assert.deepEqual(output.payload.data, answer);
assert.equal(output.payload.crc32c, crc32c(answer));
assert.equal(output.outcome, 'OUTCOME_FAILURE');
assert.equal(output.attempt, 1);

const ack = { call_id: callId, claim_token: token, fence: output.fence };
const corrupted = await call(client, 'AckOutputs', { items: [{ ...ack, crc32c: 1 }] });
assert.equal(service.summary(corrupted.results[0].status), 'INVALID_ARGUMENT CHECKSUM_MISMATCH');
const acked = await call(client, 'AckOutputs', { items: [{ ...ack, crc32c: crc32c(answer) }] });
assert.equal(service.summary(acked.results[0].status), 'OK');

const again = await call(client, 'ClaimOutputs', { call_ids: [callId], claim_token: mintToken() });
assert.deepEqual(again.outputs, []);
assert.equal(service.summary(again.ended[0].status), 'NOT_FOUND OUTPUT_CONSUMED');

await assert.rejects(
  call(worker, 'PutInputs', { items: [{ payload: { data: question } }] }),
  { code: 7 }, // PERMISSION_DENIED: a worker is no client
);

client.close();
worker.close();
console.log('one life, by node');
