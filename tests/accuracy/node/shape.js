// What the services do, from their environment: see ../README.md.
'use strict';

const THINK = Number(process.env.THINK || 0);
const RETRIES = 'RETRIES' in process.env;
const groups = process.env.CALLS.split(';').filter(Boolean).map((group) =>
  group.split(',').map((call) => {
    const [name, address] = call.split('=');
    return { name, address };
  }));

const sleep = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

// Milliseconds; 0 for every second request.
const delay = (id, position) => Math.max(0, ((id * 7919 + position * 104729) % 41) - 20);

// The status and text of the answer to a request, by a function that gets a URL.
exports.serve = async (path, get) => {
  const [id, position] = path.split('/').slice(2).map(Number);
  const call = async (callee, at) => {
    let answer = await get(`http://${callee.address}/${callee.name}/${id}/${at}`);
    if (answer.status === 503) answer = await get(`http://${callee.address}/${callee.name}/${id}/${at + 5}`);
    if (answer.status !== 200) throw new Error(`${callee.name} answered with ${answer.status}`);
    return Number(answer.text);
  };
  const wait = delay(id, position);
  if (wait) await sleep(wait);
  if (RETRIES && position > 1 && position % 10 < 5 && (id + position) % 8 === 0) return { status: 503, text: '0' };
  let served = 1;
  let next = position * 10;
  for (const group of groups) {
    if (THINK) await sleep((delay(id, next) * THINK) / 20);
    const answers = await Promise.all(group.map((callee, index) => call(callee, next + index)));
    for (const answer of answers) served += answer;
    next += group.length;
  }
  return { status: 200, text: String(served) };
};

// Listens, and answers by `serve`.
exports.listen = (http, get) => {
  const server = http.createServer(async (request, response) => {
    let answer;
    try {
      answer = await exports.serve(request.url, get);
    } catch (error) {
      console.error(error);
      answer = { status: 500, text: 'failed' };
    }
    response.writeHead(answer.status, { 'Content-Length': Buffer.byteLength(answer.text) });
    response.end(answer.text);
  });
  server.keepAliveTimeout = 60000;
  server.listen({ host: process.env.HOST, port: Number(process.env.PORT), backlog: 1024 });
};
