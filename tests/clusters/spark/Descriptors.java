import java.io.ObjectStreamClass;
import java.io.ObjectStreamField;
import java.io.ObjectOutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.TreeMap;

/**
 * Prints how Java describes classes in object streams: a class a line, with its name, serialVersionUID, flags,
 * super class and fields in the order of the stream. The argument is a file with the names of classes; what
 * they extend is printed as well. A class that is not on the class path is left out.
 */
public final class Descriptors {
  private static final int WRITE_METHOD = 1, SERIALIZABLE = 2, ENUM = 16;

  public static void main(String[] arguments) throws Exception {
    Deque<String> wanted = new ArrayDeque<>();
    for (String line : Files.readAllLines(Path.of(arguments[0]))) {
      if (!line.isBlank() && !line.startsWith("#")) wanted.add(line.trim());
    }
    TreeMap<String, String> rows = new TreeMap<>();
    while (!wanted.isEmpty()) {
      Class<?> type;
      try {
        type = Class.forName(wanted.remove(), false, Descriptors.class.getClassLoader());
      } catch (ClassNotFoundException absent) {
        continue;
      }
      ObjectStreamClass stream = ObjectStreamClass.lookup(type);
      if (stream == null || rows.containsKey(type.getName())) continue;
      Class<?> parent = type.getSuperclass();
      boolean extendsOne = parent != null && ObjectStreamClass.lookup(parent) != null;
      if (extendsOne) wanted.add(parent.getName());
      rows.put(type.getName(), String.join("\t", type.getName(), Long.toString(stream.getSerialVersionUID()),
          Integer.toString(flags(type)), extendsOne ? parent.getName() : "-", fields(stream)));
    }
    rows.values().forEach(System.out::println);
  }

  private static int flags(Class<?> type) {
    if (type == Enum.class || type.isEnum()) return SERIALIZABLE | ENUM;
    try {
      type.getDeclaredMethod("writeObject", ObjectOutputStream.class);
      return SERIALIZABLE | WRITE_METHOD;
    } catch (NoSuchMethodException none) {
      return SERIALIZABLE;
    }
  }

  private static String fields(ObjectStreamClass stream) {
    StringBuilder text = new StringBuilder();
    for (ObjectStreamField field : stream.getFields()) {
      String type = field.isPrimitive() ? String.valueOf(field.getTypeCode()) : field.getTypeString();
      text.append(text.length() > 0 ? " " : "").append(field.getName()).append(':').append(type);
    }
    return text.length() > 0 ? text.toString() : "-";
  }
}
