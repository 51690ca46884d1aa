// The test routes on Node's http, or https. Arguments: HOST PORT [CERTIFICATE KEY].
'use strict';
const http = require('http');

const [certificate, key] = process.argv.slice(4).map((file) => require('fs').readFileSync(file));
const create = (route) => key ? require('https').createServer({ cert: certificate, key }, route) : http.createServer(route);

const server = create((request, response) => {
  const [, name, first] = request.url.split('?')[0].split('/');
  const answer = (code, body) => {
    if (code === 204 || code === 304) response.writeHead(code);
    else response.writeHead(code, { 'Content-Length': Buffer.byteLength(body) });
    response.end(request.method === 'HEAD' || code === 204 || code === 304 ? undefined : body);
  };
  const fill = (left, part) => {
    while (left > 0) {
      const n = Math.min(left, part);
      left -= n;
      if (!response.write(Buffer.alloc(n, 'x')) && left > 0) {
        response.once('drain', () => fill(left, part));
        return;
      }
    }
    response.end();
  };
  switch (name) {
    case 'echo': answer(200, first); break;
    case 'status': answer(Number(first), 'status'); break;
    case 'bytes':
      response.writeHead(200, { 'Content-Length': first });
      fill(request.method === 'HEAD' ? 0 : Number(first), 65536);
      break;
    case 'chunked':
      response.writeHead(200);
      fill(Number(first), 8192);
      break;
    case 'upload': {
      let total = 0;
      request.on('data', (part) => { total += part.length; });
      request.on('end', () => answer(200, String(total)));
      break;
    }
    case 'slow': setTimeout(() => answer(200, 'slow'), Number(first)); break;
    default: answer(404, 'no such route');
  }
});
server.keepAliveTimeout = 60000;

// A WebSocket server as far as the upgrade goes; afterwards it sends back whatever comes.
server.on('upgrade', (request, socket) => {
  const key = request.headers['sec-websocket-key'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
  const accept = require('crypto').createHash('sha1').update(key).digest('base64');
  socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
    `Sec-WebSocket-Accept: ${accept}\r\n\r\n`);
  socket.pipe(socket);
  socket.on('error', () => socket.destroy());
});

server.listen({ host: process.argv[2], port: Number(process.argv[3]), backlog: 4096 });
