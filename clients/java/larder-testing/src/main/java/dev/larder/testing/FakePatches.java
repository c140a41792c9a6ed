package dev.larder.testing;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.NullNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.larder.client.internal.JsonText;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/** Changes of JSON values. */
final class FakePatches {
  private FakePatches() {}

  /** A patch that does not apply to a value. */
  static final class NotApplicable extends RuntimeException {
    private static final long serialVersionUID = 1L;

    NotApplicable(String message) {
      super(message);
    }
  }

  static JsonNode read(String json) throws JsonProcessingException {
    return JsonText.MAPPER.readTree(json);
  }

  /** JSON Merge Patch (RFC 7396). */
  static JsonNode merge(JsonNode target, JsonNode patch) {
    if (!patch.isObject()) {
      return patch;
    }
    ObjectNode merged =
        target instanceof ObjectNode object
            ? object.deepCopy()
            : JsonText.MAPPER.createObjectNode();
    for (Map.Entry<String, JsonNode> member : patch.properties()) {
      if (member.getValue().isNull()) {
        merged.remove(member.getKey());
      } else {
        JsonNode before = merged.path(member.getKey());
        merged.set(member.getKey(), merge(before, member.getValue()));
      }
    }
    return merged;
  }

  /** JSON Patch (RFC 6902): all operations, or an error. */
  static JsonNode apply(JsonNode target, JsonNode operations) {
    JsonNode root = target.deepCopy();
    int index = 0;
    for (JsonNode operation : operations) {
      try {
        root = one(root, operation);
      } catch (NotApplicable error) {
        throw new NotApplicable(
            "the patch does not apply: operation "
                + index
                + " at \""
                + operation.path("path").asText()
                + "\": "
                + error.getMessage());
      }
      index++;
    }
    return root;
  }

  private static JsonNode one(JsonNode root, JsonNode operation) {
    String path = operation.path("path").asText();
    String from = operation.path("from").asText();
    JsonNode value = operation.path("value");
    return switch (operation.path("op").asText()) {
      case "add" -> add(root, path, value);
      case "remove" -> remove(root, path);
      case "replace" -> add(remove(root, path), path, value);
      case "move" -> {
        JsonNode moved = find(root, from);
        yield add(remove(root, from), path, moved);
      }
      case "copy" -> add(root, path, find(root, from).deepCopy());
      case "test" -> {
        if (!find(root, path).equals(value)) {
          throw new NotApplicable("value did not match");
        }
        yield root;
      }
      default -> throw new IllegalArgumentException("unknown op " + operation.path("op"));
    };
  }

  private static List<String> steps(String pointer) {
    List<String> steps = new ArrayList<>();
    if (pointer.isEmpty()) {
      return steps;
    }
    if (!pointer.startsWith("/")) {
      throw new NotApplicable("path is invalid");
    }
    for (String step : pointer.substring(1).split("/", -1)) {
      steps.add(step.replace("~1", "/").replace("~0", "~"));
    }
    return steps;
  }

  private static JsonNode follow(JsonNode root, List<String> steps) {
    JsonNode value = root;
    for (String step : steps) {
      if (value instanceof ArrayNode array) {
        value = array.get(position(step, array.size() - 1));
      } else {
        value = value.get(step);
      }
      if (value == null) {
        throw new NotApplicable("path is invalid");
      }
    }
    return value;
  }

  private static JsonNode find(JsonNode root, String pointer) {
    return follow(root, steps(pointer));
  }

  private static int position(String step, int last) {
    if (!step.matches("0|[1-9]\\d{0,8}") || Integer.parseInt(step) > last) {
      throw new NotApplicable("path is invalid");
    }
    return Integer.parseInt(step);
  }

  private static JsonNode add(JsonNode root, String pointer, JsonNode value) {
    List<String> steps = steps(pointer);
    if (steps.isEmpty()) {
      return value;
    }
    String last = steps.remove(steps.size() - 1);
    JsonNode container = follow(root, steps);
    if (container instanceof ArrayNode array) {
      array.insert(last.equals("-") ? array.size() : position(last, array.size()), value);
    } else if (container instanceof ObjectNode object) {
      object.set(last, value);
    } else {
      throw new NotApplicable("path is invalid");
    }
    return root;
  }

  private static JsonNode remove(JsonNode root, String pointer) {
    find(root, pointer);
    List<String> steps = steps(pointer);
    if (steps.isEmpty()) {
      return NullNode.getInstance();
    }
    String last = steps.remove(steps.size() - 1);
    JsonNode container = follow(root, steps);
    if (container instanceof ArrayNode array) {
      array.remove(position(last, array.size() - 1));
    } else if (container instanceof ObjectNode object) {
      object.remove(last);
    }
    return root;
  }
}
