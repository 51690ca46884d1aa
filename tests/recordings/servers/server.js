// A server of Node's http: /chunks/N (as many chunks, now and then), /echo, and an upgrade to WebSocket that sends back what comes.
const http = require('http');
const server = http.createServer((request, response) => {
  const chunks = request.url.match(/^\/chunks\/(\d+)/);
  if (chunks) {
    let left = Number(chunks[1]);
    const next = () => {
      if (left-- === 0) return response.end();
      response.write('x'.repeat(100 + left));
      setTimeout(next, 2);
    };
    return next();
  }
  if (request.url === '/echo') return request.pipe(response);
  response.statusCode = 500;
  response.end('broken');
});
server.on('upgrade', (request, socket) => {
  socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n');
  socket.pipe(socket);
});
server.listen(Number(process.argv[2]), '127.0.0.1');
