// Burns a processor for so many seconds of its time, in a function that is compiled while it runs: work > leafOfWork.
'use strict';

function leafOfWork(rounds) {
  let sum = 0;
  for (let i = 0; i < rounds; i++) sum = (sum * 31 + i) | 0;
  return sum;
}

function work(seconds) {
  const before = process.cpuUsage();
  let sum = 0;
  while (process.cpuUsage(before).user < seconds * 1e6) sum += leafOfWork(1e7);
  return sum;
}

work(Number(process.argv[2]));
