package services;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Semaphore;

/** What a service does with a request, by its environment; see ../README.md. */
public final class Shape {
    private static final int THINK = Integer.parseInt(System.getenv().getOrDefault("THINK", "0"));
    private static final boolean RETRIES = System.getenv("RETRIES") != null;
    /** At most so many connections to each service; 0: as many as there are requests. */
    public static final int POOL = Integer.parseInt(System.getenv().getOrDefault("POOL", "0"));
    /** Those that it calls, group by group. */
    public static final List<List<Callee>> GROUPS = groups();

    /** Another service, and how many may call it at a time; no room: any number. */
    public record Callee(String name, String address, Semaphore room) {
        public String url(long id, long position) {
            return "http://" + address + "/" + name + "/" + id + "/" + position;
        }

        public void enter() {
            if (room != null) {
                room.acquireUninterruptibly();
            }
        }

        public void leave() {
            if (room != null) {
                room.release();
            }
        }
    }

    private Shape() {}

    /** Milliseconds; 0 for every second request. */
    public static long delay(long id, long position) {
        return Math.max(0, (id * 7919 + position * 104729) % 41 - 20);
    }

    /** Milliseconds before a group of calls. */
    public static long think(long id, long next) {
        return delay(id, next) * THINK / 20;
    }

    /** Whether a request has to be made once more. */
    public static boolean refuses(long id, long position) {
        return RETRIES && position > 1 && position % 10 < 5 && (id + position) % 8 == 0;
    }

    private static List<List<Callee>> groups() {
        List<List<Callee>> groups = new ArrayList<>();
        Map<String, Semaphore> rooms = new HashMap<>();
        for (String group : System.getenv("CALLS").split(";")) {
            List<Callee> callees = new ArrayList<>();
            for (String call : group.isEmpty() ? new String[0] : group.split(",")) {
                String[] parts = call.split("=");
                Semaphore room = POOL == 0 ? null : rooms.computeIfAbsent(parts[1], any -> new Semaphore(POOL));
                callees.add(new Callee(parts[0], parts[1], room));
            }
            if (!callees.isEmpty()) {
                groups.add(callees);
            }
        }
        return groups;
    }
}
