import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.concurrent.Executors;

/** The test routes on the JDK's own server. Arguments: HOST PORT. */
public final class Server {
    public static void main(String[] args) throws IOException {
        HttpServer server = HttpServer.create(new InetSocketAddress(args[0], Integer.parseInt(args[1])), 1024);
        server.createContext("/", Server::route);
        server.setExecutor(Executors.newFixedThreadPool(16));
        server.start();
    }

    private static void route(HttpExchange exchange) throws IOException {
        try (exchange) {
            String[] parts = exchange.getRequestURI().getPath().split("/");
            switch (parts[1]) {
                case "echo" -> answer(exchange, 200, parts[2]);
                case "status" -> answer(exchange, Integer.parseInt(parts[2]), "status");
                case "bytes" -> fill(exchange, Integer.parseInt(parts[2]), false);
                case "chunked" -> fill(exchange, Integer.parseInt(parts[2]), true);
                case "upload" -> answer(exchange, 200, Long.toString(consume(exchange.getRequestBody())));
                case "slow" -> {
                    Thread.sleep(Long.parseLong(parts[2]));
                    answer(exchange, 200, "slow");
                }
                default -> answer(exchange, 404, "no such route");
            }
        } catch (InterruptedException stopped) {
            Thread.currentThread().interrupt();
        }
    }

    private static void answer(HttpExchange exchange, int code, String text) throws IOException {
        byte[] body = text.getBytes(StandardCharsets.UTF_8);
        if (code == 204 || code == 304 || exchange.getRequestMethod().equals("HEAD")) {
            exchange.sendResponseHeaders(code, -1);
            return;
        }
        exchange.sendResponseHeaders(code, body.length);
        exchange.getResponseBody().write(body);
    }

    private static void fill(HttpExchange exchange, int size, boolean chunked) throws IOException {
        exchange.sendResponseHeaders(200, chunked ? 0 : size);
        byte[] block = new byte[chunked ? 8192 : 65536];
        Arrays.fill(block, (byte) 'x');
        OutputStream out = exchange.getResponseBody();
        for (int left = size; left > 0; left -= block.length) {
            out.write(block, 0, Math.min(left, block.length));
        }
    }

    private static long consume(InputStream in) throws IOException {
        byte[] block = new byte[65536];
        long total = 0;
        for (int n; (n = in.read(block)) >= 0; ) {
            total += n;
        }
        return total;
    }
}
