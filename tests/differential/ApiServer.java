import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

/** As much of a Kubernetes API server as a submission needs: it keeps what is created or applied. */
final class ApiServer {
  private static final ObjectMapper JSON = new ObjectMapper();
  private final HttpServer server;
  private final ExecutorService threads = Executors.newCachedThreadPool();
  /** By path: what is applied twice is there once, as it was applied last. */
  private final Map<String, JsonNode> objects = new LinkedHashMap<>();

  ApiServer() throws IOException {
    server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
    server.createContext("/", this::answer);
    server.setExecutor(threads);
    server.start();
  }

  String url() {
    return "http://127.0.0.1:" + server.getAddress().getPort();
  }

  /** What was created since the last call, and not deleted. */
  synchronized List<JsonNode> take() {
    List<JsonNode> taken = new ArrayList<>(objects.values());
    objects.clear();
    return taken;
  }

  void stop() {
    server.stop(0);
    threads.shutdown();
  }

  private void answer(HttpExchange exchange) throws IOException {
    String path = exchange.getRequestURI().getPath();
    byte[] sent = exchange.getRequestBody().readAllBytes();
    int code = 200;
    JsonNode body;
    try {
      body = act(exchange.getRequestMethod(), path, sent);
      if (body == null) {
        code = 404;
        body = JSON.createObjectNode().put("kind", "Status").put("apiVersion", "v1").put("status", "Failure")
            .put("reason", "NotFound").put("code", 404).put("message", path + " not found");
      }
    } catch (IOException | RuntimeException error) {
      code = 400;
      body = JSON.createObjectNode().put("kind", "Status").put("status", "Failure").put("code", 400)
          .put("message", error.toString());
    }
    byte[] text = JSON.writeValueAsBytes(body);
    exchange.getResponseHeaders().set("Content-Type", "application/json");
    exchange.sendResponseHeaders(code, text.length);
    exchange.getResponseBody().write(text);
    exchange.close();
  }

  private synchronized JsonNode act(String method, String path, byte[] sent) throws IOException {
    switch (method) {
      case "POST":
        ObjectNode created = read(sent);
        return keep(path + "/" + created.at("/metadata/name").asText(), created);
      case "PUT":
      case "PATCH":
        return keep(path, read(sent));
      case "DELETE":
        return objects.remove(path);
      default:
        return objects.get(path);
    }
  }

  private ObjectNode read(byte[] sent) throws IOException {
    return (ObjectNode) JSON.readTree(sent);
  }

  private JsonNode keep(String path, ObjectNode object) {
    ObjectNode metadata = object.withObject("/metadata");
    metadata.put("uid", UUID.randomUUID().toString());
    metadata.put("namespace", path.split("/namespaces/")[1].split("/")[0]);
    objects.put(path, object);
    return object;
  }
}
