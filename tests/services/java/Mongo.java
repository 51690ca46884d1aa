import de.bwaldvogel.mongo.MongoServer;
import de.bwaldvogel.mongo.backend.memory.MemoryBackend;

/** MongoDB's protocol, in memory: HOST PORT. */
public class Mongo {
    public static void main(String[] args) throws InterruptedException {
        new MongoServer(new MemoryBackend()).bind(args[0], Integer.parseInt(args[1]));
        Thread.currentThread().join();
    }
}
