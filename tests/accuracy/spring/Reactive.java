package services;

import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.SpringBootConfiguration;
import org.springframework.boot.autoconfigure.EnableAutoConfiguration;
import org.springframework.boot.autoconfigure.condition.ConditionalOnProperty;
import org.springframework.boot.web.embedded.netty.NettyReactiveWebServerFactory;
import org.springframework.context.annotation.Bean;
import org.springframework.http.ResponseEntity;
import org.springframework.http.client.reactive.ReactorClientHttpConnector;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.PathVariable;
import org.springframework.web.bind.annotation.RestController;
import org.springframework.web.reactive.function.client.WebClient;
import org.springframework.web.reactive.function.client.WebClientResponseException.ServiceUnavailable;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;
import reactor.netty.http.client.HttpClient;
import reactor.netty.resources.ConnectionProvider;
import services.Shape.Callee;

/**
 * A service on Spring WebFlux, calls by WebClient on Netty's event loops. With netty=true, these take requests, too; else Tomcat's threads do,
 * and the loops answer.
 */
@SpringBootConfiguration
@EnableAutoConfiguration
@RestController
public class Reactive {
    private final WebClient client;

    Reactive() {
        var connections = ConnectionProvider.builder("calls");
        connections.maxConnections(Shape.POOL == 0 ? 1024 : Shape.POOL).pendingAcquireMaxCount(-1);
        var http = HttpClient.create(connections.build());
        client = WebClient.builder().clientConnector(new ReactorClientHttpConnector(http)).build();
    }

    public static void main(String[] arguments) {
        SpringApplication.run(Reactive.class, arguments);
    }

    @Bean
    @ConditionalOnProperty("netty")
    NettyReactiveWebServerFactory netty() {
        return new NettyReactiveWebServerFactory();
    }

    @GetMapping("/{service}/{id}/{position}")
    Mono<ResponseEntity<String>> serve(@PathVariable("id") long id, @PathVariable("position") long position) {
        return after(Shape.delay(id, position)).then(Mono.defer(() -> answer(id, position)));
    }

    private Mono<ResponseEntity<String>> answer(long id, long position) {
        if (Shape.refuses(id, position)) {
            return Mono.just(ResponseEntity.status(503).body("0"));
        }
        Mono<Long> served = Mono.just(1L);
        long next = position * 10;
        for (List<Callee> group : Shape.GROUPS) {
            long first = next;
            next += group.size();
            served = served.flatMap(before -> make(group, id, first).map(more -> before + more));
        }
        return served.map(all -> ResponseEntity.ok(Long.toString(all)));
    }

    private static Mono<Void> after(long milliseconds) {
        return milliseconds == 0 ? Mono.empty() : Mono.delay(Duration.ofMillis(milliseconds)).then();
    }

    /** Makes the calls of a group at the same time. */
    private Mono<Long> make(List<Callee> group, long id, long first) {
        List<Mono<Long>> made = new ArrayList<>();
        for (Callee callee : group) {
            long position = first + made.size();
            Mono<Long> again = Mono.defer(() -> get(callee, id, position + 5));
            made.add(get(callee, id, position).onErrorResume(ServiceUnavailable.class, refused -> again));
        }
        return after(Shape.think(id, first)).thenMany(Flux.merge(made)).reduce(0L, Long::sum);
    }

    private Mono<Long> get(Callee callee, long id, long position) {
        return client.get().uri(callee.url(id, position)).retrieve().bodyToMono(String.class).map(Long::parseLong);
    }
}
