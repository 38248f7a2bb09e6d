package dev.imago.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.util.HashMap;
import java.util.Map;
import org.junit.jupiter.api.Test;

class BlockOptionsTest {

  private static BlockOptions offset(String value) {
    return new BlockOptions(new HashMap<>(Map.of("offset", value)));
  }

  /** It became negative, which meant that no offset was given: writes went to the disk's start. */
  @Test
  void aSizeOfMoreThan63BitsIsRefused() throws Exception {
    assertEquals(1 << 20, offset("1M").takeSize("offset", -1));
    Failure failure = assertThrows(Failure.class, () -> offset("9E").takeSize("offset", -1));
    assertEquals("Value '9E' is out of range for parameter 'offset'", failure.getMessage());
  }
}
