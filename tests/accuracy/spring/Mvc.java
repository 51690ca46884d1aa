package services;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import org.apache.hc.client5.http.impl.classic.HttpClients;
import org.apache.hc.client5.http.impl.io.PoolingHttpClientConnectionManagerBuilder;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.SpringBootConfiguration;
import org.springframework.boot.autoconfigure.EnableAutoConfiguration;
import org.springframework.http.ResponseEntity;
import org.springframework.http.client.HttpComponentsClientHttpRequestFactory;
import org.springframework.scheduling.concurrent.ThreadPoolTaskExecutor;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.PathVariable;
import org.springframework.web.bind.annotation.RestController;
import org.springframework.web.client.HttpServerErrorException.ServiceUnavailable;
import org.springframework.web.client.RestTemplate;
import services.Shape.Callee;

/** A service on Spring MVC under Tomcat: a thread for each request, calls by RestTemplate out of a pool of threads. */
@SpringBootConfiguration
@EnableAutoConfiguration
@RestController
public class Mvc {
    private static final int MOST = 1024;
    private final RestTemplate client;
    private final ThreadPoolTaskExecutor calls = new ThreadPoolTaskExecutor();

    Mvc() {
        int most = Shape.POOL == 0 ? MOST : Shape.POOL;
        var connections = PoolingHttpClientConnectionManagerBuilder.create();
        connections.setMaxConnPerRoute(most).setMaxConnTotal(MOST);
        var http = HttpClients.custom().setConnectionManager(connections.build()).disableAutomaticRetries().build();
        client = new RestTemplate(new HttpComponentsClientHttpRequestFactory(http));
        calls.setCorePoolSize(64);
        calls.initialize();
    }

    public static void main(String[] arguments) {
        SpringApplication.run(Mvc.class, arguments);
    }

    @GetMapping("/{service}/{id}/{position}")
    ResponseEntity<String> serve(@PathVariable("id") long id, @PathVariable("position") long position)
            throws InterruptedException {
        Thread.sleep(Shape.delay(id, position));
        if (Shape.refuses(id, position)) {
            return ResponseEntity.status(503).body("0");
        }
        long served = 1;
        long next = position * 10;
        for (List<Callee> group : Shape.GROUPS) {
            Thread.sleep(Shape.think(id, next));
            List<CompletableFuture<Long>> made = new ArrayList<>();
            for (Callee callee : group) {
                long place = next++;
                made.add(CompletableFuture.supplyAsync(() -> call(callee, id, place), calls));
            }
            served += made.stream().mapToLong(CompletableFuture::join).sum();
        }
        return ResponseEntity.ok(Long.toString(served));
    }

    private long call(Callee callee, long id, long position) {
        try {
            return get(callee, id, position);
        } catch (ServiceUnavailable refused) {
            return get(callee, id, position + 5);
        }
    }

    private long get(Callee callee, long id, long position) {
        return Long.parseLong(client.getForObject(callee.url(id, position), String.class));
    }
}
