package dev.imago.cli;

import java.util.ArrayList;
import java.util.List;

/**
 * A JSON object whose keys stand in the order that QEMU prints them in: that of its dictionary's
 * hash buckets. Nobody may rely on that order, but output that is the same byte for byte needs it.
 *
 * <p>Values are {@code String}, {@code Long}, {@code Integer}, {@code Boolean}, {@code Dict} or
 * {@code List} of these.
 */
final class Dict {
  private static final int BUCKETS = 512;

  private final List<String> keys = new ArrayList<>();
  private final List<Object> values = new ArrayList<>();

  /** Adds a key that is not there yet. */
  Dict put(String key, Object value) {
    int bucket = bucket(key);
    int at = 0;
    while (at < keys.size() && bucket(keys.get(at)) < bucket) {
      at++;
    }
    keys.add(at, key);
    values.add(at, value);
    return this;
  }

  int size() {
    return keys.size();
  }

  String key(int i) {
    return keys.get(i);
  }

  Object value(int i) {
    return values.get(i);
  }

  private static int bucket(String key) {
    int hash = 0x238F13AF * key.length();
    for (int i = 0; i < key.length(); i++) {
      hash += key.charAt(i) << (i * 5 % 24);
    }
    return Integer.remainderUnsigned(hash * 1103515243 + 12345, BUCKETS);
  }
}
