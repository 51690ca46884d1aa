import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.function.IntSupplier;

/**
 * Endpoints that are known by the functions that they spend their time in. Argument: PORT.
 *
 * <p>/light/ID, /medium/ID and /heavy/ID burn one, two and four parts of processor time: half of it on a thread of the server's pool, half
 * on one of another pool, whose result the first one waits for.
 */
public final class Endpoints {
    private static final int PART = 400_000;
    private static final ExecutorService POOL = Executors.newFixedThreadPool(8);

    public static void main(String[] args) throws IOException {
        HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", Integer.parseInt(args[0])), 128);
        server.createContext("/", Endpoints::route);
        server.setExecutor(Executors.newFixedThreadPool(16));
        server.start();
    }

    private static void route(HttpExchange exchange) throws IOException {
        try (exchange) {
            IntSupplier burn =
                    switch (exchange.getRequestURI().getPath().split("/")[1]) {
                        case "light" -> Endpoints::burn_light;
                        case "medium" -> Endpoints::burn_medium;
                        default -> Endpoints::burn_heavy;
                    };
            int sum = burn.getAsInt() + POOL.submit(burn::getAsInt).get();
            byte[] body = (sum == 0 ? "no" : "ok").getBytes(StandardCharsets.UTF_8);
            exchange.sendResponseHeaders(200, body.length);
            exchange.getResponseBody().write(body);
        } catch (InterruptedException | ExecutionException error) {
            throw new IOException(error);
        }
    }

    private static int spin(int rounds) {
        int value = 1;
        for (int i = 0; i < rounds; i++) {
            value = value * 31 + (i ^ value >>> 7);
        }
        return value;
    }

    private static int burn_light() {
        return spin(PART) | 1;
    }

    private static int burn_medium() {
        return spin(2 * PART) | 1;
    }

    private static int burn_heavy() {
        return spin(4 * PART) | 1;
    }
}
