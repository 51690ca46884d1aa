package services;

import static services.Shape.GROUPS;
import static services.Shape.delay;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.net.HttpURLConnection;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import services.Shape.Callee;

/**
 * A service on the JDK's own server; see ../README.md. Arguments: pool or virtual, which says what threads there are; client, async or
 * url, which says what makes the calls: HttpClient, the same with completion stages, or HttpURLConnection; and perhaps plain: a call that
 * no other one is made beside is made by the thread that serves the request, and others by tasks that are submitted.
 */
public final class Service {
    private record Answer(int status, String text) {}

    private final ExecutorService calls;
    private final String kind;
    private final boolean plain;
    private final HttpClient client;

    private Service(ExecutorService calls, String kind, boolean plain) {
        this.calls = calls;
        this.kind = kind;
        this.plain = plain;
        this.client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
    }

    public static void main(String[] args) throws Exception {
        boolean virtual = args[0].equals("virtual");
        ExecutorService calls = virtual ? virtualThreads() : Executors.newFixedThreadPool(64);
        Service service = new Service(calls, args[1], args.length > 2 && args[2].equals("plain"));
        int port = Integer.parseInt(System.getenv("PORT"));
        HttpServer server = HttpServer.create(new InetSocketAddress(System.getenv("HOST"), port), 1024);
        server.createContext("/", service::serve);
        server.setExecutor(virtual ? virtualThreads() : Executors.newFixedThreadPool(64));
        server.start();
    }

    /** By its name, so that the program compiles with JDK 17 too. */
    private static ExecutorService virtualThreads() throws ReflectiveOperationException {
        return (ExecutorService) Executors.class.getMethod("newVirtualThreadPerTaskExecutor").invoke(null);
    }

    private void serve(HttpExchange exchange) throws IOException {
        try (exchange) {
            String[] words = exchange.getRequestURI().getPath().split("/");
            long id = Long.parseLong(words[2]);
            long position = Long.parseLong(words[3]);
            sleep(delay(id, position));
            if (Shape.refuses(id, position)) {
                answer(exchange, 503, "0");
                return;
            }
            long served = 1;
            long next = position * 10;
            for (List<Callee> group : GROUPS) {
                sleep(Shape.think(id, next));
                served += plain ? makePlainly(group, id, next) : make(group, id, next);
                next += group.size();
            }
            answer(exchange, 200, Long.toString(served));
        } catch (RuntimeException failed) {
            failed.printStackTrace();
            answer(exchange, 500, "failed");
        }
    }

    private static void answer(HttpExchange exchange, int status, String text) throws IOException {
        byte[] body = text.getBytes(StandardCharsets.UTF_8);
        exchange.sendResponseHeaders(status, body.length);
        exchange.getResponseBody().write(body);
    }

    private static void sleep(long milliseconds) {
        try {
            if (milliseconds > 0) {
                Thread.sleep(milliseconds);
            }
        } catch (InterruptedException stopped) {
            Thread.currentThread().interrupt();
        }
    }

    /** Makes the calls of a group at the same time. */
    private long make(List<Callee> group, long id, long first) {
        List<CompletableFuture<Long>> futures = new ArrayList<>();
        for (int i = 0; i < group.size(); i++) {
            Callee callee = group.get(i);
            long position = first + i;
            futures.add(kind.equals("async")
                    ? async(callee, id, position)
                    : CompletableFuture.supplyAsync(() -> call(callee, id, position), calls));
        }
        return futures.stream().mapToLong(CompletableFuture::join).sum();
    }

    /** The same, as programs for virtual threads are written. */
    private long makePlainly(List<Callee> group, long id, long first) {
        if (group.size() == 1) {
            return call(group.get(0), id, first);
        }
        List<Future<Long>> futures = new ArrayList<>();
        for (int i = 0; i < group.size(); i++) {
            Callee callee = group.get(i);
            long position = first + i;
            futures.add(calls.submit(() -> call(callee, id, position)));
        }
        long served = 0;
        for (Future<Long> future : futures) {
            try {
                served += future.get();
            } catch (InterruptedException | ExecutionException failed) {
                throw new CompletionException(failed);
            }
        }
        return served;
    }

    private long call(Callee callee, long id, long position) {
        Answer answer = get(callee, uri(callee, id, position));
        if (answer.status == 503) {
            answer = get(callee, uri(callee, id, position + 5));
        }
        return served(answer);
    }

    private CompletableFuture<Long> async(Callee callee, long id, long position) {
        return later(uri(callee, id, position))
                .thenCompose(answer -> answer.status == 503
                        ? later(uri(callee, id, position + 5))
                        : CompletableFuture.completedFuture(answer))
                .thenApply(Service::served);
    }

    private CompletableFuture<Answer> later(URI uri) {
        return client.sendAsync(HttpRequest.newBuilder(uri).build(), BodyHandlers.ofString())
                .thenApply(response -> new Answer(response.statusCode(), response.body()));
    }

    private static URI uri(Callee callee, long id, long position) {
        return URI.create(callee.url(id, position));
    }

    private static long served(Answer answer) {
        if (answer.status != 200) {
            throw new CompletionException("answered with " + answer.status, null);
        }
        return Long.parseLong(answer.text);
    }

    private Answer get(Callee callee, URI uri) {
        callee.enter();
        try {
            return kind.equals("url") ? byConnection(uri) : byClient(uri);
        } catch (IOException failed) {
            throw new UncheckedIOException(failed);
        } catch (InterruptedException stopped) {
            Thread.currentThread().interrupt();
            throw new IllegalStateException(stopped);
        } finally {
            callee.leave();
        }
    }

    private Answer byClient(URI uri) throws IOException, InterruptedException {
        var response = client.send(HttpRequest.newBuilder(uri).build(), BodyHandlers.ofString());
        return new Answer(response.statusCode(), response.body());
    }

    private static Answer byConnection(URI uri) throws IOException {
        HttpURLConnection connection = (HttpURLConnection) uri.toURL().openConnection();
        int status = connection.getResponseCode();
        try (InputStream body = status == 200 ? connection.getInputStream() : connection.getErrorStream()) {
            return new Answer(status, new String(body.readAllBytes(), StandardCharsets.UTF_8));
        }
    }
}
