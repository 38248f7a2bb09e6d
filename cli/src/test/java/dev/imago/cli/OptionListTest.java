package dev.imago.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class OptionListTest {
  @Test
  void pairsKeepTheirOrder() {
    assertEquals(
        List.of(
            new OptionList.Pair("size", "1M"),
            new OptionList.Pair("lazy_refcounts", "on"),
            new OptionList.Pair("extended_l2", "off")),
        OptionList.pairs("size=1M,lazy_refcounts,noextended_l2"));
  }

  @Test
  void aDoubledCommaIsOneOfTheValue() {
    assertEquals(
        List.of(new OptionList.Pair("backing_file", "a,b"), new OptionList.Pair("x", "=,")),
        OptionList.pairs("backing_file=a,,b,x==,,"));
    assertEquals("a,,b", OptionList.quote("a,b"));
  }

  @ParameterizedTest
  @ValueSource(strings = {"", ",", ",a", "a,", "a,,,", ",,"})
  void listsThatCannotBeJoinedAreRefused(String list) {
    assertEquals(
        "Invalid option list: " + list,
        assertThrows(Failure.class, () -> OptionList.requireValid(list)).getMessage());
  }

  @ParameterizedTest
  @ValueSource(strings = {"a", "a=1,b=2", "a,,", "a=,,"})
  void othersAreNot(String list) throws Exception {
    OptionList.requireValid(list);
  }

  @Test
  void helpMayStandAnywhere() {
    assertTrue(OptionList.asksForHelp("size=1,help"));
    assertTrue(OptionList.asksForHelp("?"));
    assertFalse(OptionList.asksForHelp("help=on"));
    assertFalse(OptionList.asksForHelp("backing_file=help"));
  }
}
