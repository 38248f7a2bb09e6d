package dev.imago.qcow2;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.imago.image.CheckResult;
import dev.imago.image.EncryptionKeyException;
import dev.imago.image.Image;
import dev.imago.image.LuksOptions;
import dev.imago.image.Progress;
import dev.imago.image.ReferenceOpener;
import dev.imago.image.Secret;
import dev.imago.image.SyncMode;
import dev.imago.qcow2.ondisk.SnapshotEntry;
import dev.imago.storage.FileStorage;
import dev.imago.storage.Storage;
import dev.imago.testing.CrashGroup;
import dev.imago.testing.CrashGroup.Bias;
import dev.imago.testing.CrashImage;
import dev.imago.testing.CrashStorage;
import dev.imago.testing.Stamp;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/**
 * The machine dies while an image is amended: guests see the same, snapshots too, nothing is
 * corrupt, and amending it again does the rest. While passphrases change, one of them opens it.
 */
class AmendCrashTest {
  private static final boolean LONG = Boolean.getBoolean("imago.long");
  private static final int SEEDS = LONG ? 40 : 2;
  private static final int KEPT = LONG ? 100 : 40;

  @TempDir private Path folder;

  /** What is changed. */
  private enum Kind {
    WIDTH,
    DOWNGRADE,
    UPGRADE,
    DATA_FILE_RAW,
    LAZY,
    ALL_AT_ONCE
  }

  /** An image, its data file if it has one, and what is to be done to it. */
  private record Machine(CrashStorage image, CrashStorage data) implements ReferenceOpener {
    static Machine of(CrashGroup group, CrashImage image, CrashImage data) {
      return new Machine(group.storage("image", image), group.storage("data", data));
    }

    Qcow2Image open(@Nullable String snapshot) throws IOException {
      return Qcow2.open(
          image.reopen(),
          Qcow2OpenOptions.defaults().withWritable(snapshot == null).withSnapshot(snapshot),
          this,
          Events.NONE);
    }

    @Override
    public Image openBacking(String name, @Nullable String format) throws IOException {
      return TestImages.FILES.openBacking(name, format);
    }

    @Override
    public Storage openDataFile(String name, boolean writable) {
      return data.reopen();
    }

    /** What the guests of the disk and of all snapshots see. */
    Map<String, byte[]> seen() throws IOException {
      Map<String, byte[]> seen = new LinkedHashMap<>();
      List<String> ids = new ArrayList<>();
      try (Qcow2Image disk = open(null)) {
        seen.put("", TestImages.read(disk, 0, (int) disk.size()));
        disk.snapshots().forEach(each -> ids.add(each.id()));
      }
      for (String id : ids) {
        try (Image image = open(id)) {
          seen.put(id, TestImages.read(image, 0, (int) image.size()));
        }
      }
      return seen;
    }
  }

  private static Qcow2AmendOptions asked(Kind kind, SplittableRandom random) {
    Qcow2AmendOptions nothing = Qcow2AmendOptions.NOTHING;
    return switch (kind) {
      case WIDTH -> nothing.withRefcountBits(List.of(4, 8, 32, 64).get(random.nextInt(4)));
      case DOWNGRADE -> nothing.withVersion(2);
      case UPGRADE -> nothing.withVersion(3).withLazyRefcounts(random.nextBoolean());
      case DATA_FILE_RAW -> nothing.withDataFileRaw(false).withDataFile("moved");
      case LAZY -> nothing.withLazyRefcounts(true);
      case ALL_AT_ONCE -> nothing.withVersion(2).withRefcountBits(16);
    };
  }

  private void make(Kind kind, SplittableRandom random) throws IOException {
    int version = kind == Kind.UPGRADE ? 2 : 3;
    int bits = kind == Kind.ALL_AT_ONCE ? 64 : 16;
    Qcow2CreateOptions options =
        Qcow2CreateOptions.ofSize(128 << 10)
            .withClusterSize(List.of(512, 4096, 16384).get(random.nextInt(3)))
            .withVersion(version, bits)
            .withLazyRefcounts(version == 3 && kind != Kind.LAZY && random.nextBoolean());
    boolean external = kind == Kind.DATA_FILE_RAW;
    if (external) {
      options = options.withDataFile(folder.resolve("data").toString(), true);
    } else if (random.nextBoolean()) {
      Path base = folder.resolve("base");
      Files.write(base, Stamp.bytes(7, 0, 100 << 10, 1));
      options = options.withBacking(base.toString(), "raw");
    }
    Path file = folder.resolve("image");
    Files.deleteIfExists(file);
    Files.write(folder.resolve("data"), new byte[0]);
    try (FileStorage image = FileStorage.create(file, FileStorage.Options.readWrite());
        FileStorage data =
            FileStorage.open(folder.resolve("data"), FileStorage.Options.readWrite())) {
      Qcow2.create(image, options, external ? data : null, SyncMode.NONE);
    }
    try (Image image = TestImages.open(file)) {
      for (int i = 0; i < 3; i++) {
        fill(image, random, external);
        if (!external && random.nextBoolean()) {
          Qcow2.createSnapshot(image, "s" + i, Instant.EPOCH);
        }
      }
    }
    if (kind == Kind.UPGRADE) {
      shortenSnapshots(file);
    }
  }

  private static void fill(Image image, SplittableRandom random, boolean plain) throws IOException {
    for (int i = 0; i < 6; i++) {
      long at = random.nextLong(image.size());
      int length = (int) Math.min(1 + random.nextInt(20_000), image.size() - at);
      int what = random.nextInt(4);
      if (what < 2) {
        image.writeZeroes(at, length, what == 0, false);
      } else if (what == 2 && !plain) {
        long start = at & -image.clusterSize();
        try (var run = image.compress(TestImages.filled(image.clusterSize(), i + 1), start)) {
          run.write();
        }
      } else {
        byte[] bytes = new byte[length];
        random.nextBytes(bytes);
        image.write(ByteBuffer.wrap(bytes), at);
      }
    }
  }

  /** As old programs made them: without extra data. */
  private static void shortenSnapshots(Path file) throws IOException {
    try (FileStorage storage = FileStorage.open(file, FileStorage.Options.readWrite())) {
      var header = HeaderReader.read(storage).header();
      List<SnapshotEntry> entries = new ArrayList<>();
      SnapshotTable.read(
          storage,
          header,
          (e, at) ->
              entries.add(
                  new SnapshotEntry(
                      e.l1TableOffset(),
                      e.l1Size(),
                      e.seconds(),
                      e.nanoseconds(),
                      e.vmClock(),
                      e.vmStateSize32(),
                      dev.imago.qcow2.ondisk.Bytes.NONE,
                      e.rawId(),
                      e.rawName())));
      if (!entries.isEmpty()) {
        storage.write(SnapshotStore.bytes(entries), header.snapshotsOffset());
      }
    }
  }

  @ParameterizedTest
  @EnumSource
  void guestsSeeTheSameAndAmendingAgainDoesTheRest(Kind kind) throws Exception {
    int crashes = 0;
    for (long seed = 1; seed <= SEEDS; seed++) {
      try {
        crashes += crash(kind, new SplittableRandom(seed * 31 + kind.ordinal()));
      } catch (AssertionError | IOException | RuntimeException e) {
        throw new AssertionError("%s, seed %d: %s".formatted(kind, seed, e), e);
      }
    }
    System.out.printf("%s: %d crashes%n", kind, crashes);
  }

  private int crash(Kind kind, SplittableRandom random) throws IOException {
    make(kind, random);
    Qcow2AmendOptions asked = asked(kind, random);
    CrashGroup group = new CrashGroup();
    Machine machine =
        Machine.of(
            group, CrashImage.of(folder.resolve("image")), CrashImage.of(folder.resolve("data")));
    Map<String, byte[]> before = machine.seen();
    List<Map<String, CrashImage>> kept = new ArrayList<>();
    try (Image image = machine.open(null)) {
      // With lazy refcounts the image is dirty by now.
      fill(image, random, kind == Kind.DATA_FILE_RAW);
      image.flush();
      before.put("", TestImages.read(image, 0, (int) image.size()));
      observe(group, random, kept);
      Qcow2.amend(image, asked, Progress.NONE);
    }
    group.onCall(moment -> {});
    kept.add(group.crash(random, Bias.NONE));
    requireAmended(machine, asked);
    for (Map<String, CrashImage> left : kept) {
      judge(left, before, asked);
    }
    return kept.size();
  }

  private static void observe(
      CrashGroup group, SplittableRandom random, List<Map<String, CrashImage>> kept) {
    int[] seen = {0};
    group.onCall(
        moment -> {
          int place = kept.size() < KEPT ? kept.size() : random.nextInt(++seen[0] + KEPT);
          if (place < KEPT) {
            Bias bias = Bias.values()[random.nextInt(Bias.values().length)];
            Map<String, CrashImage> left = group.crash(random, bias);
            if (place == kept.size()) {
              kept.add(left);
            } else {
              kept.set(place, left);
            }
          }
        });
  }

  private static void judge(
      Map<String, CrashImage> left, Map<String, byte[]> before, Qcow2AmendOptions asked)
      throws IOException {
    Machine machine = Machine.of(new CrashGroup(), left.get("image"), left.get("data"));
    assertGood(machine, before);
    try (Image image = machine.open(null)) {
      Qcow2.amend(image, asked, Progress.NONE);
    }
    requireAmended(machine, asked);
    assertGood(machine, before);
  }

  private static void assertGood(Machine machine, Map<String, byte[]> before) throws IOException {
    // What is dirty is repaired by this.
    Map<String, byte[]> now = machine.seen();
    assertThat(now.keySet()).isEqualTo(before.keySet());
    for (String id : before.keySet()) {
      assertThat(Arrays.equals(now.get(id), before.get(id))).as("snapshot '%s'", id).isTrue();
    }
    CheckResult found;
    try (Storage storage = machine.image.reopen()) {
      found = Qcow2.check(storage, Progress.NONE);
    }
    assertThat(found.corruptions() + found.checkErrors()).as("%s", found.findings()).isZero();
  }

  private static void requireAmended(Machine machine, Qcow2AmendOptions asked) throws IOException {
    Qcow2Info info;
    try (Storage storage = machine.image.reopen()) {
      info = Qcow2.info(storage);
    }
    if (asked.version() != 0) {
      assertThat(info.version()).isEqualTo(asked.version());
    }
    if (asked.refcountBits() != 0) {
      assertThat(info.refcountBits()).isEqualTo(asked.refcountBits());
    }
    if (asked.lazyRefcounts() != null) {
      assertThat(info.lazyRefcounts()).isEqualTo(asked.lazyRefcounts());
    }
    if (asked.dataFileRaw() != null) {
      assertThat(info.dataFileRaw()).isEqualTo(asked.dataFileRaw());
    }
  }

  // Passphrases

  private static Secret secret(String text) {
    return new Secret(text.getBytes(StandardCharsets.UTF_8));
  }

  private static Image open(Storage storage, Secret key) throws IOException {
    return Qcow2.open(
        storage,
        Qcow2OpenOptions.defaults().withWritable(true).withKey(key, false),
        TestImages.FILES);
  }

  private static boolean opens(CrashImage left, Secret key, byte[] content) throws IOException {
    try (Image image = open(new CrashGroup().storage("image", left), key)) {
      assertThat(TestImages.read(image, 0, content.length)).isEqualTo(content);
      return true;
    } catch (EncryptionKeyException e) {
      return false;
    }
  }

  private static Path encrypted(Path file, Secret key, byte[] content) throws IOException {
    Files.deleteIfExists(file);
    try (FileStorage storage = FileStorage.create(file, FileStorage.Options.readWrite())) {
      Qcow2.create(
          storage,
          Qcow2CreateOptions.ofSize(64 << 10)
              .withClusterSize(4096)
              .withLuks(LuksOptions.of(key).withCipher("aes-128", "xts").withIterationMillis(0)),
          null,
          SyncMode.NONE);
    }
    try (Image image = open(FileStorage.open(file, FileStorage.Options.readWrite()), key)) {
      image.write(ByteBuffer.wrap(content), 0);
    }
    return file;
  }

  /** First one is added, then the old one erased: until then it opens, from then on the new one. */
  @Test
  void oneOfThePassphrasesOpensTheImageAtEveryMoment() throws Exception {
    int crashes = 0;
    for (long seed = 1; seed <= (LONG ? 20 : 2); seed++) {
      SplittableRandom random = new SplittableRandom(seed);
      byte[] content = Stamp.bytes(seed, 0, 10_000, 1);
      try (Secret old = secret("old");
          Secret fresh = secret("new")) {
        CrashGroup group = new CrashGroup();
        CrashStorage storage =
            group.storage("image", CrashImage.of(encrypted(folder.resolve("luks"), old, content)));
        List<CrashImage> adding = new ArrayList<>();
        List<CrashImage> erasing = new ArrayList<>();
        try (Image image = open(storage.reopen(), old)) {
          record(group, random, adding);
          Qcow2.addKey(image, fresh, seed % 2 == 0 ? -1 : 5, 0);
          CrashImage added = group.crash(random, Bias.NONE).get("image");
          assertThat(opens(added, fresh, content)).as("added, and safe").isTrue();
          record(group, random, erasing);
          Qcow2.eraseKey(image, 0, old, false);
          CrashImage erased = group.crash(random, Bias.NONE).get("image");
          assertThat(opens(erased, old, content)).as("erased for good").isFalse();
          erasing.add(erased);
          group.onCall(moment -> {});
        }
        for (CrashImage left : adding) {
          assertThat(opens(left, old, content)).as("the old one").isTrue();
        }
        for (CrashImage left : erasing) {
          assertThat(opens(left, fresh, content)).as("the new one").isTrue();
          finishErasing(left, old, fresh, content);
        }
        crashes += adding.size() + erasing.size();
      }
    }
    System.out.printf("KEYS: %d crashes%n", crashes);
  }

  /** What a crash left half erased can be erased again; then the old passphrase is gone. */
  private static void finishErasing(CrashImage left, Secret old, Secret fresh, byte[] content)
      throws IOException {
    CrashStorage storage = new CrashGroup().storage("image", left);
    try (Image image = open(storage.reopen(), fresh)) {
      try {
        Qcow2.eraseKey(image, 0, false);
      } catch (IllegalArgumentException e) {
        // Only when the key material is gone, as the content below shows, may it say so.
        assertThat(e).hasMessageContaining("already erased");
      }
    }
    try (Image image = open(storage.reopen(), fresh)) {
      assertThat(TestImages.read(image, 0, content.length)).isEqualTo(content);
    }
    assertThatThrownBy(() -> open(storage.reopen(), old))
        .isInstanceOf(EncryptionKeyException.class);
  }

  private static void record(CrashGroup group, SplittableRandom random, List<CrashImage> target) {
    group.onCall(
        moment -> {
          for (Bias bias : Bias.values()) {
            target.add(group.crash(random, bias).get("image"));
          }
        });
  }
}
