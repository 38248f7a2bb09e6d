package dev.imago.qcow2.ondisk;

import static dev.imago.qcow2.ondisk.L2Entry.Kind.COMPRESSED;
import static dev.imago.qcow2.ondisk.L2Entry.Kind.DATA;
import static dev.imago.qcow2.ondisk.L2Entry.Kind.INVALID;
import static dev.imago.qcow2.ondisk.L2Entry.Kind.UNALLOCATED;
import static dev.imago.qcow2.ondisk.L2Entry.Kind.ZERO;
import static dev.imago.qcow2.ondisk.L2Entry.Kind.ZERO_ALLOCATED;
import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;

class L2EntryTest {
  private static final Geometry V3 = new Geometry(16, 4, 3, false);
  private static final Geometry V2 = new Geometry(16, 4, 2, false);
  private static final Geometry EXTERNAL = new Geometry(16, 4, 3, true);
  private static final Geometry EXTENDED = new Geometry(17, 4, 3, false, true);
  private static final Geometry BOTH = new Geometry(16, 4, 3, true, true);

  @Test
  void theDigestsExamplesAreWhatItSays() {
    assertThat(kind(0, V3)).isEqualTo(UNALLOCATED);
    assertThat(kind(1, V3)).isEqualTo(ZERO);
    assertThat(kind(0x8000000000050000L, V3)).isEqualTo(DATA);
    assertThat(kind(0x0000000000050000L, V3)).isEqualTo(DATA);
    assertThat(kind(0x8000000000050001L, V3)).isEqualTo(ZERO_ALLOCATED);
    assertThat(kind(0x4300000000050000L, V3)).isEqualTo(COMPRESSED);
    assertThat(kind(0x434000000005190dL, V3)).isEqualTo(COMPRESSED);
  }

  @Test
  void whatBreaksTheFormatIsInvalid() {
    assertThat(kind(0x8000000000050200L, V3)).isEqualTo(INVALID);
    assertThat(kind(0x8000000000050201L, V3)).isEqualTo(INVALID);
    assertThat(kind(1, V2)).isEqualTo(INVALID);
    assertThat(kind(0x8000000000050001L, V2)).isEqualTo(INVALID);
    assertThat(kind(0x4300000000050000L, EXTERNAL)).isEqualTo(INVALID);
    Geometry small = new Geometry(9, 4, 3, false);
    assertThat(kind(0x4100000000000000L, small)).isEqualTo(INVALID);
    assertThat(kind(0x40ffffffffffffffL, small)).isEqualTo(COMPRESSED);
  }

  @Test
  void inADataFileCopiedTellsWhatIsAllocated() {
    assertThat(kind(0x8000000000000000L, EXTERNAL)).isEqualTo(DATA);
    assertThat(kind(0, EXTERNAL)).isEqualTo(UNALLOCATED);
    assertThat(kind(0x8000000000020000L, EXTERNAL)).isEqualTo(DATA);
    assertThat(kind(0x8000000000000001L, EXTERNAL)).isEqualTo(ZERO_ALLOCATED);
    assertThat(kind(1, EXTERNAL)).isEqualTo(ZERO);
    assertThat(kind(0x8000000000000000L, V3)).isEqualTo(UNALLOCATED);
  }

  @Test
  void theDigestsExtendedExamplesAreWhatItSays() {
    assertThat(kinds(0x80000000000a0000L, 0x00000c0000000021L, EXTENDED))
        .isEqualTo("D....D....zz....................");
    assertThat(kinds(0, 0xffffffff00000000L, EXTENDED)).isEqualTo("Z".repeat(32));
    assertThat(kinds(0, 0x0000000100000000L, EXTENDED)).isEqualTo("Z" + ".".repeat(31));
    assertThat(kinds(0x40000000000e0000L, 0, EXTENDED)).isEqualTo("C".repeat(32));
    assertThat(kinds(0x8000000000060000L, 0, EXTENDED)).isEqualTo(".".repeat(32));
    assertThat(kinds(0, 0, EXTENDED)).isEqualTo(".".repeat(32));
    assertThat(kinds(0x8000000000000000L, 0x80000001L, BOTH)).isEqualTo("D" + ".".repeat(30) + "D");
    assertThat(kinds(0x8000000000000000L, 0x8000000100000000L, BOTH))
        .isEqualTo("z" + ".".repeat(30) + "z");
  }

  @Test
  void anExtendedEntryThatContradictsItselfIsInvalidAsAWhole() {
    String invalid = "!".repeat(32);
    assertThat(kinds(0x80000000000a0000L, 0x0000000100000001L, EXTENDED)).isEqualTo(invalid);
    assertThat(kinds(0, 0x80000000L, EXTENDED)).isEqualTo(invalid);
    assertThat(kinds(0, 0x0000000100000002L, EXTENDED)).isEqualTo(invalid);
    assertThat(kinds(0x40000000000e0000L, 1, EXTENDED)).isEqualTo(invalid);
    assertThat(kinds(0x40000000000e0000L, 1L << 63, EXTENDED)).isEqualTo(invalid);
    assertThat(kinds(0x80000000000b0000L, 1, EXTENDED)).isEqualTo(invalid);
    assertThat(kinds(0x40000000000e0000L, 0, BOTH)).isEqualTo(invalid);

    assertThat(new L2Entry(0, 2).problem(EXTENDED))
        .isEqualTo(
            "subcluster bitmap 0x0000000000000002 of 0x0; a subcluster is data or zero, and data"
                + " needs a host cluster");
    assertThat(new L2Entry(0x40000000000e0000L, 3).problem(EXTENDED))
        .isEqualTo(
            "0x40000000000e0000 is compressed, so that its subcluster bitmap must be 0, not 0x3");
  }

  @Test
  void writingMarksTheSubclustersThatWereWrittenAndNoOthers() {
    L2Entry entry = L2Entry.NOTHING.withData(0xa0000, 0, 1, EXTENDED);
    assertThat(entry).isEqualTo(new L2Entry(0x80000000000a0000L, 1));
    entry = entry.withData(0xa0000, 5, 6, EXTENDED).withZero(10, 12, EXTENDED);
    assertThat(entry).isEqualTo(new L2Entry(0x80000000000a0000L, 0x00000c0000000021L));
    assertThat(entry.withData(0xa0000, 11, 32, EXTENDED).bitmap()).isEqualTo(0x00000400fffff821L);
    assertThat(entry.withZero(0, 32, EXTENDED).bitmap()).isEqualTo(0xffffffff00000000L);
    assertThat(L2Entry.zero(EXTENDED).withData(0xa0000, 3, 4, EXTENDED).bitmap())
        .isEqualTo(0xfffffff700000008L);
    assertThat(new L2Entry(0x40000000000e0000L, 0).withData(0xa0000, 3, 4, EXTENDED))
        .isEqualTo(new L2Entry(0x80000000000a0000L, 0xffffffffL));
    assertThat(entry.withCluster(0xc0000))
        .isEqualTo(new L2Entry(0x80000000000c0000L, 0x00000c0000000021L));
  }

  @Test
  void aStandardEntryIsOneSubcluster() {
    L2Entry zero = new L2Entry(0x8000000000050001L, 0);
    assertThat(zero.run(0, V3)).isEqualTo(1);
    assertThat(zero.withData(0x50000, 0, 1, V3)).isEqualTo(new L2Entry(0x8000000000050000L, 0));
    assertThat(zero.withData(0x50000, 0, 1, V3).withZero(0, 1, V3)).isEqualTo(zero);
    assertThat(zero.nextData(0, V3)).isEqualTo(1);
    assertThat(zero.allZero(V3)).isTrue();
    assertThat(L2Entry.zero(V2)).isEqualTo(L2Entry.NOTHING);
  }

  /** What must be filled elsewhere is what the old place shows, and no more. */
  @Test
  void aSharedClusterIsCopiedFromItsFirstDataToItsLast() {
    L2Entry shared = new L2Entry(0xa0000, 0x0000000100000110L);
    assertThat(shared.fillFrom(2)).isEqualTo(2);
    assertThat(shared.fillFrom(20)).isEqualTo(4);
    assertThat(shared.fillTo(3, EXTENDED)).isEqualTo(9);
    assertThat(shared.fillTo(20, EXTENDED)).isEqualTo(20);
    assertThat(shared.nextData(5, EXTENDED)).isEqualTo(8);
    assertThat(shared.nextData(9, EXTENDED)).isEqualTo(32);
    L2Entry nothing = L2Entry.NOTHING;
    assertThat(nothing.fillFrom(20)).isEqualTo(20);
    assertThat(nothing.fillTo(21, EXTENDED)).isEqualTo(21);
    L2Entry compressed = new L2Entry(0x40000000000e0000L, 0);
    assertThat(compressed.fillFrom(20)).isZero();
    assertThat(compressed.fillTo(21, EXTENDED)).isEqualTo(32);
  }

  /** A letter for each subcluster; runs must agree with them. */
  private static String kinds(long descriptor, long bitmap, Geometry g) {
    L2Entry entry = new L2Entry(descriptor, bitmap);
    StringBuilder kinds = new StringBuilder();
    for (int i = 0; i < g.subclusters(); i++) {
      kinds.append(
          switch (entry.kind(i, g)) {
            case UNALLOCATED -> '.';
            case ZERO -> 'Z';
            case ZERO_ALLOCATED -> 'z';
            case DATA -> 'D';
            case COMPRESSED -> 'C';
            case INVALID -> '!';
          });
    }
    for (int i = 0; i < kinds.length() && kinds.charAt(i) != '!'; i++) {
      int end = i;
      while (end < kinds.length() && kinds.charAt(end) == kinds.charAt(i)) {
        end++;
      }
      assertThat(entry.run(i, g)).as("run from " + i + " of " + kinds).isEqualTo(end - i);
    }
    return kinds.toString();
  }

  private static L2Entry.Kind kind(long word, Geometry g) {
    return new L2Entry(word, 0).kind(0, g);
  }
}
