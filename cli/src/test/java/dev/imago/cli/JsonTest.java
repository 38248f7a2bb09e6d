package dev.imago.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.List;
import org.junit.jupiter.api.Test;

class JsonTest {
  private static String json(Object value) {
    StringBuilder out = new StringBuilder();
    Json.append(out, value);
    return out.toString();
  }

  /** Recorded from qemu-img 7.2 info --output=json. */
  @Test
  void keysStandInTheOrderOfQemusHashBuckets() {
    Dict dict = new Dict();
    for (String key :
        List.of(
            "actual-size",
            "backing-filename",
            "backing-filename-format",
            "cluster-size",
            "dirty-flag",
            "encrypted",
            "filename",
            "format",
            "format-specific",
            "full-backing-filename",
            "snapshots",
            "virtual-size")) {
      dict.put(key, 0);
    }

    assertEquals(
        "backing-filename-format snapshots virtual-size filename cluster-size format actual-size"
            + " format-specific full-backing-filename encrypted backing-filename dirty-flag",
        keys(dict));
  }

  /** Recorded from qemu-img 7.2 check --output=json. */
  @Test
  void theKeysOfACheckToo() {
    Dict dict = new Dict();
    for (String key :
        List.of(
            "filename",
            "format",
            "check-errors",
            "image-end-offset",
            "corruptions",
            "leaks",
            "total-clusters",
            "allocated-clusters",
            "fragmented-clusters",
            "compressed-clusters")) {
      dict.put(key, 0);
    }

    assertEquals(
        "image-end-offset compressed-clusters total-clusters corruptions check-errors leaks"
            + " allocated-clusters filename format fragmented-clusters",
        keys(dict));
  }

  private static String keys(Dict dict) {
    StringBuilder keys = new StringBuilder();
    for (int i = 0; i < dict.size(); i++) {
      keys.append(i > 0 ? " " : "").append(dict.key(i));
    }
    return keys.toString();
  }

  @Test
  void everyLevelIsFourBlanksDeep() {
    Dict dict = new Dict().put("format", new Dict().put("type", List.of("a", 1L, true)));

    assertEquals(
        """
        {
            "format": {
                "type": [
                    "a",
                    1,
                    true
                ]
            }
        }\
        """,
        json(dict));
  }

  @Test
  void whatIsEmptyStillTakesTwoLines() {
    assertEquals("[\n]", json(List.of()));
    assertEquals("{\n    \"flags\": [\n    ]\n}", json(new Dict().put("flags", List.of())));
  }

  @Test
  void stringsAreAscii() {
    assertEquals(
        "\"a\\\"b\\\\c\\b\\f\\n\\r\\t\\u0001\\u007F\\u00E4\\uD83D\\uDE00/\"",
        json("a\"b\\c\b\f\n\r\t\u0001\u007fä😀/"));
  }
}
