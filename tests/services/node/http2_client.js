// Asks ADDRESS for the targets that its input names, one after the other and on one HTTP/2 connection: TARGET, or TARGET NAME VALUE with a header, in each line.
// Prints how long each answer is.
'use strict';
const http2 = require('node:http2');
const readline = require('node:readline');

async function main() {
  const asked = [];
  for await (const line of readline.createInterface({ input: process.stdin })) {
    asked.push(line.split('\t'));
  }
  const session = http2.connect(`http://${process.argv[2]}`);
  for (const [target, name, value] of asked) {
    const stream = session.request({ ':path': target, ...(name ? { [name]: value } : {}) });
    let length = 0;
    for await (const piece of stream) {
      length += piece.length;
    }
    console.log(length);
  }
  session.close();
}

main();
