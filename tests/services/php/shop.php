<?php
// What an application of PHP's does: answers, fails, and calls another service whose port it is given.
$path = parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);
if (isset($_GET['call'])) {
    echo file_get_contents('http://127.0.0.1:' . (int) $_GET['call'] . '/echo/from-php');
}
if (preg_match('#^/status/(\d+)#', $path, $found)) {
    http_response_code((int) $found[1]);
}
echo str_repeat('p', (int) ($_GET['size'] ?? 5));
