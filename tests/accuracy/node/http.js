// A service on Node's http, server and client, with an agent that keeps connections.
'use strict';
const http = require('http');
const { listen } = require('./shape');

const agent = new http.Agent({ keepAlive: true, maxSockets: Number(process.env.POOL) || Infinity });

const get = (url) => new Promise((done, failed) => {
  http.get(url, { agent }, (response) => {
    let text = '';
    response.setEncoding('utf8');
    response.on('data', (part) => { text += part; });
    response.on('end', () => done({ status: response.statusCode, text }));
    response.on('error', failed);
  }).on('error', failed);
});

listen(http, get);
