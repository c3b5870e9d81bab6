import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.lang.reflect.Proxy;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import org.apache.spark.ExecutorAllocationClient;
import org.apache.spark.ExecutorAllocationManager;
import org.apache.spark.SparkConf;
import org.apache.spark.Success$;
import org.apache.spark.executor.ExecutorMetrics;
import org.apache.spark.executor.TaskMetrics;
import org.apache.spark.resource.ResourceProfile$;
import org.apache.spark.resource.ResourceProfileManager;
import org.apache.spark.scheduler.LiveListenerBus;
import org.apache.spark.scheduler.SparkListenerExecutorAdded;
import org.apache.spark.scheduler.SparkListenerExecutorRemoved;
import org.apache.spark.scheduler.SparkListenerStageCompleted;
import org.apache.spark.scheduler.SparkListenerStageSubmitted;
import org.apache.spark.scheduler.SparkListenerTaskEnd;
import org.apache.spark.scheduler.SparkListenerTaskStart;
import org.apache.spark.scheduler.StageInfo;
import org.apache.spark.scheduler.TaskInfo;
import org.apache.spark.scheduler.TaskLocality$;
import org.apache.spark.scheduler.cluster.ExecutorInfo;
import org.apache.spark.util.ManualClock;
import scala.Option;
import scala.collection.Seq;
import scala.collection.immutable.Map$;
import scala.collection.immutable.Nil$;

/**
 * Spark's own ExecutorAllocationManager, with a clock that is set by hand.
 *
 * <p>A line of standard input is one event; "new" begins again, with properties. After a "tick" a line of
 * standard output says the target, and which executors are removed. Compiled against the jars of the
 * release that it runs, 3.5 or any 4.x.
 */
public final class Allocations {
  private final ManualClock clock = new ManualClock(0);
  private final List<String> removed = new ArrayList<>();
  private final ExecutorAllocationManager manager;
  private long taskId = 0;

  private Allocations(String[] properties) {
    SparkConf conf = new SparkConf(false);
    for (int i = 1; i < properties.length; i++) {
      String[] property = properties[i].split("=", 2);
      conf.set(property[0], property[1]);
    }
    // The profile of an earlier configuration is kept otherwise.
    ResourceProfile$.MODULE$.clearDefaultProfile();
    LiveListenerBus bus = new LiveListenerBus(conf);
    ResourceProfileManager profiles = new ResourceProfileManager(conf, bus);
    // Without a shuffle service, executors may be removed where the storage of shuffle files outlives them.
    manager = new ExecutorAllocationManager(client(), bus, conf, Option.empty(), clock, profiles, true);
  }

  /** The cluster does all that it is asked for. */
  private ExecutorAllocationClient client() {
    ClassLoader loader = Allocations.class.getClassLoader();
    Class<?>[] interfaces = {ExecutorAllocationClient.class};
    return (ExecutorAllocationClient) Proxy.newProxyInstance(loader, interfaces, (self, method, arguments) -> {
      if (!method.getName().equals("killExecutors")) {
        return true;
      }
      Seq<?> ids = (Seq<?>) arguments[0];
      for (int i = 0; i < ids.size(); i++) {
        removed.add((String) ids.apply(i));
      }
      return ids;
    });
  }

  @SuppressWarnings("unchecked")
  private static <T> scala.collection.immutable.List<T> none() {
    return (scala.collection.immutable.List<T>) (Object) Nil$.MODULE$;
  }

  private StageInfo stage(String[] words) {
    int tasks = words.length > 2 ? Integer.parseInt(words[2]) : 0;
    return new StageInfo(Integer.parseInt(words[1]), 0, "stage", tasks, none(), none(), "", null, none(),
        Option.empty(), 0, false, 0);
  }

  private TaskInfo task(String[] words) {
    int index = Integer.parseInt(words[2]);
    return new TaskInfo(taskId++, index, 0, index, clock.getTimeMillis(), words[3], "host",
        TaskLocality$.MODULE$.ANY(), false);
  }

  private String apply(String[] words) {
    switch (words[0]) {
      case "stage" ->
          manager.listener().onStageSubmitted(new SparkListenerStageSubmitted(stage(words), new Properties()));
      case "done" -> manager.listener().onStageCompleted(new SparkListenerStageCompleted(stage(words)));
      case "start" -> {
        SparkListenerTaskStart start = new SparkListenerTaskStart(Integer.parseInt(words[1]), 0, task(words));
        manager.listener().onTaskStart(start);
        manager.executorMonitor().onTaskStart(start);
      }
      case "end" -> {
        SparkListenerTaskEnd end = new SparkListenerTaskEnd(Integer.parseInt(words[1]), 0, "ResultTask",
            Success$.MODULE$, task(words), new ExecutorMetrics(), new TaskMetrics());
        manager.listener().onTaskEnd(end);
        manager.executorMonitor().onTaskEnd(end);
      }
      case "add" -> {
        ExecutorInfo info = new ExecutorInfo("host", 1, Map$.MODULE$.empty());
        long now = clock.getTimeMillis();
        manager.executorMonitor().onExecutorAdded(new SparkListenerExecutorAdded(now, words[1], info));
      }
      case "gone" -> {
        long now = clock.getTimeMillis();
        manager.executorMonitor().onExecutorRemoved(new SparkListenerExecutorRemoved(now, words[1], "gone"));
      }
      case "wait" -> clock.advance(Long.parseLong(words[1]));
      case "tick" -> {
        removed.clear();
        manager.org$apache$spark$ExecutorAllocationManager$$schedule();
        Object target = manager.numExecutorsTargetPerResourceProfileId().apply(0);
        return target + " " + String.join(",", removed);
      }
      default -> throw new IllegalArgumentException(words[0]);
    }
    return null;
  }

  public static void main(String[] unused) throws Exception {
    PrintStream answers = new PrintStream(System.out, false, StandardCharsets.UTF_8);
    // Whatever Spark prints is not an answer.
    System.setOut(System.err);
    BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    Allocations allocations = null;
    for (String line = lines.readLine(); line != null; line = lines.readLine()) {
      String[] words = line.split(" ");
      if (words[0].equals("new")) {
        allocations = new Allocations(words);
        continue;
      }
      String answer = allocations.apply(words);
      if (answer != null) {
        answers.println(answer);
        answers.flush();
      }
    }
  }
}
