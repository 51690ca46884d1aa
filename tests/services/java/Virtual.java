import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

/**
 * Serves each connection in a virtual thread, and says in its answers which thread writes them: the connection's own (/own), one that it
 * waits for (/child), or a platform thread (/platform). Arguments: host, port. Compiles with JDK 17, runs with JDK 21 or later.
 */
public final class Virtual {
    private static ExecutorService executor;

    public static void main(String[] args) throws Exception {
        executor = (ExecutorService) Executors.class.getMethod("newVirtualThreadPerTaskExecutor").invoke(null);
        // All classes are loaded before anybody looks.
        executor.submit(() -> {
            executor.submit(() -> {
                Thread.sleep(20);
                return 0;
            }).get();
            return 0;
        }).get();
        try (ServerSocket server = new ServerSocket(Integer.parseInt(args[1]), 64, InetAddress.getByName(args[0]))) {
            while (true) {
                Socket connection = server.accept();
                executor.execute(() -> serve(connection));
            }
        }
    }

    private static void serve(Socket connection) {
        try (connection) {
            InputStream in = connection.getInputStream();
            OutputStream out = connection.getOutputStream();
            byte[] bytes = new byte[1000];
            int length;
            while ((length = in.read(bytes)) > 0) {
                String path = new String(bytes, 0, length, StandardCharsets.US_ASCII).split(" ")[1];
                long own = Thread.currentThread().getId();
                switch (path) {
                    case "/child" -> wait(executor, out, own);
                    case "/platform" -> {
                        Thread thread = new Thread(() -> answer(out, "task=0;"));
                        thread.start();
                        thread.join();
                    }
                    default -> answer(out, "task=" + own + ";");
                }
            }
        } catch (Exception failed) {
            failed.printStackTrace();
        }
    }

    private static void wait(ExecutorService executor, OutputStream out, long parent) throws Exception {
        Callable<Integer> child = () -> {
            // By then it is waited for.
            Thread.sleep(5);
            answer(out, "parent=" + parent + ";task=" + Thread.currentThread().getId() + ";");
            return 0;
        };
        executor.submit(child).get();
    }

    private static void answer(OutputStream out, String text) {
        try {
            String head = "HTTP/1.1 200 OK\r\nContent-Length: " + text.length() + "\r\n\r\n";
            out.write((head + text).getBytes(StandardCharsets.US_ASCII));
        } catch (IOException failed) {
            failed.printStackTrace();
        }
    }
}
