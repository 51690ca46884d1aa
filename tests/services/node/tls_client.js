// A client over TLS that feeds OpenSSL from memory: two connections in turns. See services/python/tls_client.py.
'use strict';
const https = require('https');
const lines = require('readline').createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const now = () => Number(process.hrtime.bigint() - began) + Date.now0;
const began = process.hrtime.bigint();
Date.now0 = Date.now() * 1e6;

const exchange = (plan, agent, request, target) => new Promise((resolve, reject) => {
  const start = now();
  const options = { host: plan.host, port: plan.port, method: request.method, path: target, agent, rejectUnauthorized: false };
  if (request.body) options.headers = { 'Content-Length': request.body };
  const sent = https.request(options, (response) => {
    let size = 0;
    let text = '';
    const port = response.socket.localPort;
    response.on('data', (part) => { size += part.length; if (text.length < 64) text += part.toString('latin1').slice(0, 64); });
    response.on('end', () => resolve({
      method: request.method, target, traceparent: '', request_body: request.body, status: response.statusCode,
      response_body: size, response_text: text.slice(0, 64), start, end: now(), port,
    }));
  });
  sent.on('error', reject);
  sent.end(request.body ? Buffer.alloc(request.body, 'x') : undefined);
});

const main = async () => {
  const plan = JSON.parse((await lines.next()).value);
  const agents = [0, 1].map(() => new https.Agent({ keepAlive: true, maxSockets: 1, maxCachedSessions: 0 }));
  const send = async (prefix, rounds) => {
    const one = async (connection) => {
      const done = [];
      for (let round = 0; round < rounds; round++) {
        for (const [index, request] of plan.requests.entries()) {
          const target = request.target.replace('{id}', `${prefix}-${round}-${index}-${connection}`);
          done.push(await exchange(plan, agents[connection], request, target));
        }
      }
      return done;
    };
    return (await Promise.all([one(0), one(1)])).flat();
  };
  await send('warm', plan.warmup);
  console.log('ready');
  await lines.next();
  console.log(JSON.stringify(await send('id', plan.rounds)));
  process.exit(0);
};
main();
