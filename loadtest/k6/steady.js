// A steady rate of small requests while something around the proxy goes wrong: does a client notice?
//
// The rig passes:
//   HIPACHE_URL  where hipache listens
//   CONTROL_URL  where another one listens, to which nothing happens
//   HOST         the host that is asked for
//   RATE         requests per second to each
//   BEGIN        when the first phase begins, in milliseconds since 1970
//   SLICES       number of slices of time
//   SLICE        milliseconds of each
//
// Every request is tagged with the proxy and with the slice that it was sent in, so that each slice has
// figures of its own. The two proxies take turns, so what troubles the machine troubles both.

import http from "k6/http";
import exec from "k6/execution";
import { check } from "k6";

const BEGIN = Number(__ENV.BEGIN);
const SLICE = Number(__ENV.SLICE);
const SLICES = Number(__ENV.SLICES);
const SIDES = [["tested", __ENV.HIPACHE_URL], ["control", __ENV.CONTROL_URL]];

// k6 reports a tag's values only where a threshold asks for them; these always hold, the rig judges.
const thresholds = { "http_reqs{side:tested}": ["count>=0"] };
for (let slice = -1; slice < SLICES; slice += 1) {
  for (const [side] of SIDES) {
    thresholds[`http_req_duration{side:${side},slice:${slice}}`] = ["max>=0"];
    thresholds[`http_req_failed{side:${side},slice:${slice}}`] = ["rate>=0"];
  }
}

export const options = {
  scenarios: {
    steady: {
      executor: "constant-arrival-rate",
      rate: 2 * Number(__ENV.RATE),
      timeUnit: "1s",
      duration: `${Math.ceil((BEGIN - Date.now() + SLICES * SLICE) / 1000)}s`,
      preAllocatedVUs: 400,
      maxVUs: 400,
      gracefulStop: "30s",
    },
  },
  thresholds,
  summaryTrendStats: ["med", "p(99)", "max", "count"],
};

export default function () {
  const slice = Math.min(Math.floor((Date.now() - BEGIN) / SLICE), SLICES - 1);
  const number = exec.scenario.iterationInTest;
  const [side, url] = SIDES[number % 2];
  const answer = http.get(`${url}/?id=${number}`, {
    headers: { Host: __ENV.HOST },
    tags: { name: "steady", side, slice: String(Math.max(slice, -1)) },
  });
  check(answer, { "200": (r) => r.status === 200 });
}
