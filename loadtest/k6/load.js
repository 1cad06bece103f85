// A rising number of requests per second on a thousand vhosts: does it stay quick and right?
//
// The rig (loadtest/load) passes:
//   HIPACHE_URL  where hipache listens
//   VHOSTS       how many hosts vhost-N.test there are
//   RATE         requests per second at the top
//   SECONDS      how long the top lasts; the way up takes half of it, the way down a quarter

import http from "k6/http";
import exec from "k6/execution";
import { check } from "k6";
import { Counter } from "k6/metrics";

const BASE = __ENV.HIPACHE_URL;
const VHOSTS = Number(__ENV.VHOSTS || 1000);
const RATE = Number(__ENV.RATE || 500);
const SECONDS = Number(__ENV.SECONDS || 20);

const pings = new Counter("pings"); // leave no line in the access log

// What is asked for, and in how many of a hundred requests.
const MIX = [
  { share: 70, method: "GET", size: 512 },
  { share: 15, method: "GET", size: 16 * 1024 },
  { share: 4, method: "GET", size: 256 * 1024 },
  { share: 1, method: "GET", size: 1024 * 1024 },
  { share: 10, method: "POST", size: 8 * 1024 },
];
const PAYLOAD = "x".repeat(8 * 1024);

export const options = {
  scenarios: {
    traffic: {
      executor: "ramping-arrival-rate",
      startRate: Math.max(1, Math.floor(RATE / 10)),
      timeUnit: "1s",
      // All at once: to start more of them later costs k6 time, in which requests are dropped.
      preAllocatedVUs: 400,
      maxVUs: 400,
      // Long enough that no request is broken off by the end of the test.
      gracefulStop: "30s",
      stages: [
        { target: RATE, duration: `${Math.ceil(SECONDS / 2)}s` },
        { target: RATE, duration: `${SECONDS}s` },
        { target: 1, duration: `${Math.ceil(SECONDS / 4)}s` },
      ],
    },
  },
  thresholds: {
    checks: ["rate==1"],
    http_req_failed: ["rate<0.001"],
    "http_req_duration{name:GET 512}": ["p(99)<100"],
    http_req_duration: ["p(99)<250"],
    dropped_iterations: ["count<10"],
  },
  summaryTrendStats: ["avg", "med", "p(90)", "p(99)", "max"],
};

let sent = 0;

function choose() {
  let ticket = Math.random() * 100;
  return MIX.find((kind) => (ticket -= kind.share) < 0) || MIX[0];
}

export default function () {
  const { method, size } = choose();
  const number = Math.floor(Math.random() * VHOSTS);
  sent += 1;
  const path = method === "POST" ? "/echo" : `/bytes/${size}`;
  const url = `${BASE}${path}?id=${exec.vu.idInTest}.${sent}`;
  const answer = http.request(method, url, method === "POST" ? PAYLOAD : null, {
    headers: { Host: `vhost-${number}.test` },
    tags: { name: `${method} ${size}` },
  });
  check(answer, {
    "200": (r) => r.status === 200,
    "whole body": (r) => r.body && r.body.length === size,
  });
}

// The counter must exist for the rig, although this script sends none.
export function setup() {
  pings.add(0);
}
