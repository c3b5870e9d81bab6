import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.lang.reflect.Constructor;
import java.lang.reflect.Field;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.Proxy;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/**
 * Runs the real spark-submit many times in one JVM, against a stand-in API server.
 *
 * <p>The first line of standard output is the stand-in's URL. Then each line of standard input is
 * {"args": [...], "env": {...}}, and is answered by {"code": 0, "said": "...", "objects": [...]}: the
 * exit code, what was printed or thrown, and what was created. Compiled against the jars of the
 * release that it runs, 3.5 or any 4.x.
 */
public final class SparkSubmits {
  private static final ObjectMapper JSON = new ObjectMapper();

  /** Stands for the end of the process. */
  private static final class Exit extends RuntimeException {
    final int code;

    Exit(int code) {
      super(null, null, false, false);
      this.code = code;
    }
  }

  public static void main(String[] unused) throws Exception {
    PrintStream answers = new PrintStream(System.out, false, StandardCharsets.UTF_8);
    // Whatever Spark prints is not an answer.
    System.setOut(System.err);
    ApiServer server = new ApiServer();
    answers.println(server.url());
    answers.flush();
    Map<String, String> environment = environment();
    Object submit = Class.forName("org.apache.spark.deploy.SparkSubmit$").getField("MODULE$").get(null);
    endsWithAnException(submit);
    ClassLoader loader = Thread.currentThread().getContextClassLoader();
    BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String line = lines.readLine(); line != null; line = lines.readLine()) {
      JsonNode request = JSON.readTree(line);
      environment.clear();
      JsonNode variables = request.get("env");
      variables.fieldNames().forEachRemaining(name -> environment.put(name, variables.get(name).asText()));
      List<String> args = new ArrayList<>();
      request.get("args").forEach(arg -> args.add(arg.asText()));
      ObjectNode answer = run(submit, args, environment);
      answer.set("objects", JSON.valueToTree(server.take()));
      answers.println(JSON.writeValueAsString(answer));
      answers.flush();
      Thread.currentThread().setContextClassLoader(loader);
      System.getProperties().keySet().removeIf(name -> name.toString().startsWith("spark."));
    }
    server.stop();
    Runtime.getRuntime().halt(0);
  }

  /** What bin/spark-submit does: the launcher understands the line, and SparkSubmit does what it says. */
  private static ObjectNode run(Object submit, List<String> args, Map<String, String> environment) {
    ByteArrayOutputStream said = new ByteArrayOutputStream();
    int code = 0;
    try {
      PrintStream stream = new PrintStream(said, true, StandardCharsets.UTF_8);
      submit.getClass().getMethod("printStream_$eq", PrintStream.class).invoke(submit, stream);
      List<String> understood = launch(args, environment);
      Method main = submit.getClass().getMethod("main", String[].class);
      main.invoke(submit, (Object) understood.toArray(new String[0]));
    } catch (Throwable thrown) {
      Throwable cause = thrown instanceof InvocationTargetException ? thrown.getCause() : thrown;
      code = 1;
      if (cause instanceof Exit) {
        code = ((Exit) cause).code;
      } else {
        // What it printed before is not why it failed.
        said.reset();
        for (; cause != null; cause = cause.getCause()) {
          said.writeBytes((cause + "\n").getBytes(StandardCharsets.UTF_8));
        }
      }
    }
    ObjectNode answer = JSON.createObjectNode();
    answer.put("code", code);
    answer.put("said", said.toString(StandardCharsets.UTF_8));
    return answer;
  }

  /** The arguments of SparkSubmit, as the launcher's own JVM prints them. */
  private static List<String> launch(List<String> args, Map<String, String> environment) throws Exception {
    Constructor<?> builder =
        Class.forName("org.apache.spark.launcher.SparkSubmitCommandBuilder").getDeclaredConstructor(List.class);
    builder.setAccessible(true);
    Object made = builder.newInstance(args);
    Method build = made.getClass().getMethod("buildCommand", Map.class);
    build.setAccessible(true);
    List<?> command = (List<?>) build.invoke(made, new java.util.HashMap<>(environment));
    List<String> rest = new ArrayList<>();
    command.subList(command.indexOf("org.apache.spark.deploy.SparkSubmit") + 1, command.size())
        .forEach(word -> rest.add(word.toString()));
    return rest;
  }

  /** Where SparkSubmit would end the process, it throws. Its function has one or two parameters. */
  private static void endsWithAnException(Object submit) throws Exception {
    for (Method method : submit.getClass().getMethods()) {
      if (method.getName().equals("exitFn_$eq")) {
        Class<?> function = method.getParameterTypes()[0];
        method.invoke(submit, Proxy.newProxyInstance(function.getClassLoader(), new Class<?>[] {function},
            (self, called, given) -> {
              if (called.getName().startsWith("apply")) {
                throw new Exit((Integer) given[0]);
              }
              return called.getName().equals("hashCode") ? (Object) 0 : "exitFn";
            }));
      }
    }
  }

  /** The variables of this process, which Spark reads wherever it likes; with --add-opens they can be set. */
  @SuppressWarnings("unchecked")
  private static Map<String, String> environment() throws Exception {
    Map<String, String> shown = System.getenv();
    Field inner = shown.getClass().getDeclaredField("m");
    inner.setAccessible(true);
    return (Map<String, String>) inner.get(shown);
  }
}
