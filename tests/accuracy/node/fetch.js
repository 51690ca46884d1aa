// A service on Node's http server whose calls are made by undici's fetch.
'use strict';
const http = require('http');
const { Agent, fetch } = require('undici');
const { listen } = require('./shape');

const dispatcher = new Agent({ connections: Number(process.env.POOL) || null });

listen(http, async (url) => {
  const response = await fetch(url, { dispatcher });
  return { status: response.status, text: await response.text() };
});
