package dev.imago.qcow2;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.TreeMap;
import org.junit.jupiter.api.Test;

class TableSetTest {
  @Test
  void referencesToATableAreAddedUp() throws Exception {
    TableSet set = new TableSet();
    set.add(0x50000, 1, false);
    set.add(0x40000, 2, false);
    set.add(0x50000, 3, true);
    assertThat(set.size()).isEqualTo(2);
    set.add(0x40000, 1, false);
    set.add(0xff_ffff_ffff_fe00L >> 1 & -512, 1, true);

    List<String> tables = new ArrayList<>();
    set.forEach((at, times, active) -> tables.add("%x %d %s".formatted(at, times, active)));

    assertThat(tables)
        .containsExactly(
            "40000 3 false", "50000 4 true", "7fffffffffff00 1 true".replace("ff00", "fe00"));
  }

  @Test
  void manyReferencesGiveTheSameAsAMap() throws Exception {
    TableSet set = new TableSet();
    TreeMap<Long, Integer> expected = new TreeMap<>();
    Random random = new Random(4);
    for (int i = 0; i < 500_000; i++) {
      long at = random.nextLong(1L << 14) << 9 | (long) random.nextInt(2) << 55;
      set.add(at, 1, false);
      expected.merge(at, 1, Integer::sum);
    }
    TreeMap<Long, Integer> found = new TreeMap<>();
    List<Long> order = new ArrayList<>();
    set.forEach(
        (at, times, active) -> {
          found.put(at, times);
          order.add(at);
        });
    assertThat(found).isEqualTo(expected);
    assertThat(order).isSorted();
  }

  @Test
  void moreReferencesThanCanBeCountedStayAtTheMost() throws Exception {
    TableSet set = new TableSet();
    for (int i = 0; i < 70_000; i++) {
      set.add(512, 1, true);
    }
    set.forEach((at, times, active) -> assertThat(times).isEqualTo(65535));
  }
}
