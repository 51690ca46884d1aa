// The endpoints of `endpoints.c`, served by an event loop that works for other requests in the middle of each: node endpoints.js PORT [WAY].
// /light/ID, /medium/ID and /heavy/ID burn one, two and four parts of processor time, half of it before an await, half of it after.
'use strict';

const fs = require('fs');
const http = require('http');
const timers = require('timers/promises');

const PART = 400000;

function spin(rounds) {
  let value = 0;
  for (let i = 0; i < rounds; i++) value = (Math.imul(value, 31) + i) | 0;
  return value;
}

function burn_light() {
  return spin(PART) + 1;
}

function burn_medium() {
  return spin(2 * PART) + 1;
}

function burn_heavy() {
  return spin(4 * PART) + 1;
}

const endpoints = { light: burn_light, medium: burn_medium, heavy: burn_heavy };

// What a request waits for.
const ways = {
  promise: async () => {},
  immediate: () => timers.setImmediate(),
  timer: () => timers.setTimeout(1),
  callback: () => new Promise((resolve) => setTimeout(resolve, 1)),
  file: () => fs.promises.readFile(__filename),
};

const wait = ways[process.argv[3] || 'immediate'];

http
  .createServer(async (request, response) => {
    const burn = endpoints[request.url.split('/')[1]];
    burn();
    await wait();
    burn();
    response.writeHead(200, { 'Content-Length': 2 }).end('ok');
  })
  .listen(Number(process.argv[2]), '127.0.0.1', 128);
