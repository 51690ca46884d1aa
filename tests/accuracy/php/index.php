<?php
// A service under PHP-FPM; see ../README.md. Calls that are made at the same time go through curl_multi.
declare(strict_types=1);

$think = (int) (getenv('THINK') ?: 0);
$retries = getenv('RETRIES') !== false;
[, , $id, $position] = array_map('intval', explode('/', $_SERVER['REQUEST_URI']));

// Milliseconds; 0 for every second request.
function delay(int $id, int $position): int
{
    return max(0, ($id * 7919 + $position * 104729) % 41 - 20);
}

function request(array $callee, int $id, int $position): CurlHandle
{
    [$name, $address] = $callee;
    $handle = curl_init("http://$address/$name/$id/$position");
    curl_setopt($handle, CURLOPT_RETURNTRANSFER, true);
    return $handle;
}

function served(CurlHandle $handle, ?string $text, array $callee, int $id, int $position): int
{
    $status = curl_getinfo($handle, CURLINFO_RESPONSE_CODE);
    if ($status === 503) {
        $handle = request($callee, $id, $position + 5);
        $text = (string) curl_exec($handle);
        $status = curl_getinfo($handle, CURLINFO_RESPONSE_CODE);
    }
    if ($status !== 200) {
        throw new RuntimeException("$callee[0] answered with $status");
    }
    return (int) $text;
}

function make(array $group, int $id, int $first): int
{
    if (count($group) === 1) {
        $handle = request($group[0], $id, $first);
        return served($handle, (string) curl_exec($handle), $group[0], $id, $first);
    }
    $multi = curl_multi_init();
    $handles = [];
    foreach ($group as $index => $callee) {
        $handles[$index] = request($callee, $id, $first + $index);
        curl_multi_add_handle($multi, $handles[$index]);
    }
    do {
        curl_multi_exec($multi, $running);
        if ($running > 0) {
            curl_multi_select($multi);
        }
    } while ($running > 0);
    $sum = 0;
    foreach ($handles as $index => $handle) {
        $sum += served($handle, curl_multi_getcontent($handle), $group[$index], $id, $first + $index);
    }
    return $sum;
}

usleep(delay($id, $position) * 1000);
header('Content-Type: text/plain');
if ($retries && $position > 1 && $position % 10 < 5 && ($id + $position) % 8 === 0) {
    http_response_code(503);
    echo '0';
    exit;
}
$served = 1;
$next = $position * 10;
foreach (array_filter(explode(';', (string) getenv('CALLS'))) as $text) {
    $group = array_map(fn ($call) => explode('=', $call), explode(',', $text));
    if ($think > 0) {
        usleep((int) (delay($id, $next) * $think / 20 * 1000));
    }
    $served += make($group, $id, $next);
    $next += count($group);
}
echo $served;
