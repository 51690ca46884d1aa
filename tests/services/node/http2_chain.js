// Requests by HTTP/2 that cause others, all on one session: node http2_chain.js HOST PORT [ADDRESS]. With an address, /top/ID asks there for
// /first/ID, and then at once for /second/ID and /third/ID; for each third ID after a timer. Whoever asks for them, 16 at a time:
// node http2_chain.js ask ADDRESS COUNT.
'use strict';

const http2 = require('http2');

function asker(address) {
  const session = http2.connect(`http://${address}`);
  return (path) => new Promise((resolve, reject) => {
    const stream = session.request({ ':path': path });
    stream.on('error', reject).on('end', resolve).resume().end();
  });
}

if (process.argv[2] === 'ask') {
  const [address, count] = process.argv.slice(3);
  const ask = asker(address);
  let next = 0;
  const client = async () => {
    while (next < Number(count)) await ask(`/top/${next++}`);
  };
  Promise.all(Array.from({ length: 16 }, client)).then(() => process.exit(0));
} else {
  const [host, port, address] = process.argv.slice(2);
  const ask = address && asker(address);
  const server = http2.createServer();
  server.on('stream', async (stream, headers) => {
    const id = headers[':path'].split('/')[2];
    if (ask) {
      if (id % 3 === 0) await new Promise((resolve) => setTimeout(resolve, id % 7));
      await ask(`/first/${id}`);
      await Promise.all([ask(`/second/${id}`), ask(`/third/${id}`)]);
    }
    stream.respond({ ':status': 200 });
    stream.end('done');
  });
  server.listen(Number(port), host);
}
