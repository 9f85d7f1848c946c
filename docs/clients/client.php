<?php
// PHP client of `kptk serve` (PHP 8), without extensions: curl is not needed.
//
// Run:  php client.php http://127.0.0.1:8080 photo.jpg [result.jpg]

function fail(string $message): never
{
    fwrite(STDERR, "$message\n");
    exit(1);
}

function ask(string $url, string $picture): array
{
    $headers = ['Content-Type: application/json'];
    if (getenv('KPTK_SERVE_TOKEN') !== false) {
        $headers[] = 'Authorization: Bearer ' . getenv('KPTK_SERVE_TOKEN');
    }
    $context = stream_context_create(['http' => [
        'method' => 'POST',
        'header' => $headers,
        'content' => json_encode(['image' => base64_encode($picture)]),
        'timeout' => 120,
        'ignore_errors' => true, // the envelope comes with error statuses too
    ]]);
    $body = @file_get_contents("$url/human-keypoint-detection", false, $context);
    if ($body === false) {
        fail('error: ' . (error_get_last()['message'] ?? "no answer from $url"));
    }
    $answer = json_decode($body, true);
    return is_array($answer) ? $answer : fail("error: $url did not answer with JSON");
}

if ($argc < 3 || $argc > 4) {
    fail('usage: php client.php URL PICTURE [RESULT]');
}
$target = $argv[3] ?? 'result.jpg';
$picture = @file_get_contents($argv[2]);
if ($picture === false) {
    fail("error: {$argv[2]} cannot be read");
}
$answer = ask(rtrim($argv[1], '/'), $picture);
if ($answer['errorCode'] !== 0) {
    fail("error {$answer['errorCode']}: {$answer['errorMsg']}");
}
$people = $answer['result']['persons'];
printf("%d people\n", count($people));
foreach ($people as $person) {
    $box = implode(' ', array_map(fn ($value) => sprintf('%.1f', $value), $person['bbox']));
    [$x, $y, $score] = $person['kpts'][0];
    printf("score %.3f  box %s  nose %.1f %.1f (%.2f)\n", $person['detScore'], $box, $x, $y, $score);
}
if (@file_put_contents($target, base64_decode($answer['result']['image'])) === false) {
    fail("error: $target cannot be written");
}
echo "saved $target\n";
