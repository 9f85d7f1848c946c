"""Python client of `kptk serve`, standard library only.

Run:  python client.py http://127.0.0.1:8080 photo.jpg [result.jpg]
"""

import base64
import json
import os
import sys
import urllib.error
import urllib.request


def ask(url, picture):
    """The service's answer as a dict, whether it is a result or an error."""
    body = json.dumps({"image": base64.b64encode(picture).decode("ascii")}).encode("ascii")
    headers = {"Content-Type": "application/json"}
    if "KPTK_SERVE_TOKEN" in os.environ:
        headers["Authorization"] = "Bearer " + os.environ["KPTK_SERVE_TOKEN"]
    request = urllib.request.Request(url + "/human-keypoint-detection", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=120) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:  # the envelope comes with error statuses too
        return json.load(error)


def main(url, path, target="result.jpg"):
    with open(path, "rb") as file:
        answer = ask(url.rstrip("/"), file.read())
    if answer["errorCode"] != 0:
        sys.exit(f"error {answer['errorCode']}: {answer['errorMsg']}")
    people = answer["result"]["persons"]
    print(f"{len(people)} people")
    for person in people:
        box = " ".join(f"{value:.1f}" for value in person["bbox"])
        x, y, score = person["kpts"][0]
        print(f"score {person['detScore']:.3f}  box {box}  nose {x:.1f} {y:.1f} ({score:.2f})")
    with open(target, "wb") as file:
        file.write(base64.b64decode(answer["result"]["image"]))
    print(f"saved {target}")


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit("usage: python client.py URL PICTURE [RESULT]")
    try:
        main(*sys.argv[1:])
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
