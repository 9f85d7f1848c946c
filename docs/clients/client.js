// Node.js client of `kptk serve` (Node.js 18 or later), standard library only.
//
// Run:  node client.js http://127.0.0.1:8080 photo.jpg [result.jpg]

const fs = require("node:fs");

async function ask(url, picture) {
  const headers = { "Content-Type": "application/json" };
  if (process.env.KPTK_SERVE_TOKEN) {
    headers["Authorization"] = `Bearer ${process.env.KPTK_SERVE_TOKEN}`;
  }
  const response = await fetch(`${url}/human-keypoint-detection`, {
    method: "POST",
    headers,
    body: JSON.stringify({ image: picture.toString("base64") }),
    signal: AbortSignal.timeout(120_000),
  });
  return response.json(); // the envelope comes with error statuses too
}

async function main(url, path, target = "result.jpg") {
  const answer = await ask(url.replace(/\/+$/, ""), fs.readFileSync(path));
  if (answer.errorCode !== 0) {
    throw new Error(`error ${answer.errorCode}: ${answer.errorMsg}`);
  }
  const people = answer.result.persons;
  console.log(`${people.length} people`);
  for (const person of people) {
    const box = person.bbox.map((value) => value.toFixed(1)).join(" ");
    const [x, y, score] = person.kpts[0];
    console.log(
      `score ${person.detScore.toFixed(3)}  box ${box}  ` +
        `nose ${x.toFixed(1)} ${y.toFixed(1)} (${score.toFixed(2)})`,
    );
  }
  fs.writeFileSync(target, Buffer.from(answer.result.image, "base64"));
  console.log(`saved ${target}`);
}

const given = process.argv.slice(2);
if (given.length < 2 || given.length > 3) {
  console.error("usage: node client.js URL PICTURE [RESULT]");
  process.exit(1);
}
main(...given).catch((error) => {
  const cause = error.cause ? ` (${error.cause.message})` : "";
  console.error(`${error.message}${cause}`);
  process.exitCode = 1;
});
