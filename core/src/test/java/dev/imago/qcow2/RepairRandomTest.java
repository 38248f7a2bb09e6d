package dev.imago.qcow2;

import static org.assertj.core.api.Assertions.assertThat;

import dev.imago.image.ImageException;
import dev.imago.image.Progress;
import dev.imago.image.RepairMode;
import dev.imago.image.RepairResult;
import dev.imago.storage.FileStorage;
import dev.imago.storage.Storage;
import dev.imago.testing.Qemu;
import dev.imago.testing.Tool;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * Images with damage here and there, repaired by QEMU and by us: wherever QEMU's repair ends with a
 * clean image ours does as well, and keeps every guest sector that QEMU's keeps.
 *
 * <p>{@code -Dimago.seed=N} begins with that seed.
 */
class RepairRandomTest {
  private static final int ROUNDS = Boolean.getBoolean("imago.long") ? 400 : 24;
  private static final int RARE_ROUNDS = Boolean.getBoolean("imago.long") ? 200 : 12;
  private static final long FIRST_SEED = Long.getLong("imago.seed", 1);
  private static final int SIZE = 2 << 20;
  private static final int SECTOR = 512;

  @TempDir Path folder;
  private SplittableRandom random = new SplittableRandom(0);
  private boolean rare;

  /** QEMU compresses only what was never written before. */
  private final Set<Integer> written = new HashSet<>();

  private String said = "";

  /** The image's places that damage can hit. */
  private record Places(int clusterSize, long l1, long reftable, long snapshots, long size) {}

  @Test
  void whatQemuRepairsWeRepairToo() throws Exception {
    repairAll(ROUNDS);
  }

  /** Version 2, extended L2 entries, narrow counts, zstd. */
  @Test
  void alsoInImagesOfRareKinds() throws Exception {
    rare = true;
    repairAll(RARE_ROUNDS);
  }

  private void repairAll(int rounds) throws Exception {
    int clean = 0;
    int ours = 0;
    List<String> failures = new ArrayList<>();
    for (long seed = FIRST_SEED; seed < FIRST_SEED + rounds; seed++) {
      try {
        int found = round(seed);
        clean += found & 1;
        ours += found >> 1;
      } catch (AssertionError | IOException | RuntimeException e) {
        String failure = "seed %d: %s".formatted(seed, e);
        System.out.println(failure);
        failures.add(failure);
      }
    }
    System.out.printf(
        "%d damaged images from seed %d on: QEMU makes %d of them whole, we %d%n",
        rounds, FIRST_SEED, clean, ours);
    assertThat(failures).isEmpty();
    assertThat(clean).isGreaterThan(rounds / 4);
  }

  /** Each of these once ended without a clean image, or with less data than QEMU kept. */
  @ParameterizedTest
  @ValueSource(longs = {41, 166, 299, 308, 362, 416, 468, 517, 762, 773, 777})
  void whatWasOnceNotRepaired(long seed) throws Exception {
    assertThat(round(seed) & 2).as("whole: " + said).isEqualTo(2);
  }

  /** As above, of rare kinds. */
  @ParameterizedTest
  @ValueSource(longs = {95, 216})
  void whatWasOnceNotRepairedOfRareKinds(long seed) throws Exception {
    rare = true;
    assertThat(round(seed) & 2).as("whole: " + said).isEqualTo(2);
  }

  private int round(long seed) throws Exception {
    random = new SplittableRandom(seed);
    Path sound = folder.resolve("sound");
    make(sound);
    List<byte[]> original = contents(sound);
    damage(sound);
    Path theirs = folder.resolve("theirs");
    Path image = folder.resolve("ours");
    Files.copy(sound, theirs, StandardCopyOption.REPLACE_EXISTING);
    Files.copy(sound, image, StandardCopyOption.REPLACE_EXISTING);

    int status = Tool.run("timeout", "60", "qemu-img", "check", "-q", "-r", "all", theirs).status();
    boolean weDid = repair(image);

    if (status == 0) {
      List<byte[]> kept = contents(theirs);
      // QEMU's first word is not always its last: what it calls repaired may not be.
      boolean sure = Tool.run("qemu-img", "check", theirs).status() == 0;
      for (int i = 0; i < kept.size(); i++) {
        sure &= kept.get(i).length > 0 || original.get(i).length == 0;
      }
      if (sure) {
        assertThat(weDid).as("we can do what QEMU can: " + said).isTrue();
        keepsAsMuch(original, kept, contents(image));
      }
    }
    if (weDid) {
      Qemu.check(image).clean();
    }
    return (status == 0 ? 1 : 0) | (weDid ? 2 : 0);
  }

  private boolean repair(Path image) throws IOException {
    try (Storage storage = FileStorage.open(image, FileStorage.Options.readWrite())) {
      RepairResult result = Qcow2.repair(storage, RepairMode.ALL, Progress.NONE);
      said = said(result.lines()) + " left: " + said(result.left().findings());
      return !result.refused() && result.left().clean();
    } catch (ImageException e) {
      said = String.valueOf(e.getMessage());
      // The header says that there is nothing to be done.
      return false;
    }
  }

  private static List<String> said(List<String> lines) {
    return lines.stream().filter(line -> !line.matches("(Leaked|Repairing) cluster .*")).toList();
  }

  private void make(Path image) throws IOException, InterruptedException {
    int cluster = List.of(512, 4096, 4096, 65536).get(random.nextInt(4));
    int bits = List.of(8, 8, 16, 16, 16, 32, 64).get(random.nextInt(7));
    String options = "cluster_size=%d,refcount_bits=%d".formatted(cluster, bits);
    int kind = rare ? random.nextInt(6) : -1;
    boolean snapshots = true;
    boolean bitmaps = true;
    switch (kind) {
      case 0, 1 -> {
        options = "compat=0.10,cluster_size=" + cluster;
        bitmaps = false;
      }
      case 2, 3 -> options = "extended_l2=on,cluster_size=%d".formatted(16384 << random.nextInt(3));
      case 4 -> {
        bits = 1 << random.nextInt(3);
        options = "cluster_size=%d,refcount_bits=%d".formatted(cluster, bits);
        snapshots = bits > 1;
      }
      case 5 -> options += ",compression_type=zstd,lazy_refcounts=on";
      default -> {}
    }
    Files.deleteIfExists(image);
    written.clear();
    Qemu.img("create", "-q", "-f", "qcow2", "-o", options, image, SIZE);
    fill(image, 12);
    if (random.nextInt(3) > 0 && snapshots) {
      snapshot(image, "s0");
      fill(image, 4);
    }
    if (random.nextInt(3) == 0 && snapshots) {
      snapshot(image, "s1");
      fill(image, 3);
    }
    if (random.nextInt(4) == 0 && bitmaps) {
      Qemu.img("bitmap", "--add", image, "b0");
    }
  }

  /** Narrow counts may not be able to say that all of it is used once more. */
  private static void snapshot(Path image, String name) throws IOException, InterruptedException {
    Tool.run("qemu-img", "snapshot", "-c", name, image);
  }

  private void fill(Path image, int writes) throws IOException, InterruptedException {
    List<String> commands = new ArrayList<>();
    for (int i = 0; i < writes; i++) {
      int at = random.nextInt(SIZE / 65536) * 65536;
      String flags = random.nextInt(5) == 0 && written.add(at) ? "-c " : "";
      written.add(at);
      String what =
          random.nextInt(8) == 0 ? "write -z %d 65536" : "write " + flags + "-P %2$d %1$d 65536";
      commands.add(what.formatted(at, 1 + random.nextInt(250)));
    }
    Qemu.io(image, commands);
  }

  private void damage(Path image) throws IOException {
    try (RandomAccessFile file = new RandomAccessFile(image.toFile(), "rw")) {
      file.seek(20);
      final int clusterSize = 1 << file.readInt();
      file.seek(40);
      long l1 = file.readLong();
      long reftable = file.readLong();
      file.seek(64);
      Places places = new Places(clusterSize, l1, reftable, file.readLong(), file.length());
      for (int i = random.nextInt(3); i >= 0; i--) {
        hit(file, places);
      }
    }
  }

  /** Changes a word, or a bit of one, in one of the structures. */
  private void hit(RandomAccessFile file, Places p) throws IOException {
    long at =
        switch (random.nextInt(7)) {
          case 0 -> p.reftable + random.nextInt(2) * 8L;
          case 1, 2 -> target(file, p.reftable, p) + random.nextInt(p.clusterSize / 8) % 64 * 8L;
          case 3 -> p.l1 + random.nextInt(4) * 8L;
          case 4, 5 -> target(file, p.l1, p) + random.nextInt(p.clusterSize / 8) % 512 * 8L;
          default ->
              p.snapshots != 0
                  ? p.snapshots + random.nextInt(8) * 8L
                  : 112 + random.nextInt(70) * 8L;
        };
    at = Math.min(at, p.size - 8);
    file.seek(at);
    long old = at + 8 <= file.length() ? file.readLong() : 0;
    long changed =
        switch (random.nextInt(5)) {
          case 0 -> 0;
          case 1 -> old ^ 1L << random.nextInt(64);
          case 2 -> random.nextLong(p.size / p.clusterSize) * p.clusterSize | 1L << 63;
          case 3 -> old ^ (long) p.clusterSize << random.nextInt(6);
          default -> old ^ 1L << random.nextInt(24);
        };
    file.seek(at);
    file.writeLong(changed);
  }

  private long target(RandomAccessFile file, long table, Places p) throws IOException {
    file.seek(table);
    long to = file.readLong() & 0x00ff_ffff_ffff_fe00L;
    return to == 0 || to >= p.size ? table : to;
  }

  /** What the active disk and the snapshots hold; null where that cannot be read at all. */
  private List<byte[]> contents(Path image) throws IOException, InterruptedException {
    List<byte[]> all = new ArrayList<>();
    for (String snapshot : List.of("", "s0", "s1")) {
      Path raw = folder.resolve("raw");
      List<Object> words = new ArrayList<>(List.of("qemu-img", "convert", "--salvage", "-f"));
      words.addAll(List.of("qcow2", "-O", "raw"));
      if (!snapshot.isEmpty()) {
        words.addAll(List.of("-l", snapshot));
      }
      words.addAll(List.of(image, raw));
      boolean there = Tool.run(words.toArray()).status() == 0;
      all.add(there ? Files.readAllBytes(raw) : new byte[0]);
      Files.deleteIfExists(raw);
    }
    return all;
  }

  private static void keepsAsMuch(List<byte[]> original, List<byte[]> theirs, List<byte[]> ours) {
    for (int i = 0; i < original.size(); i++) {
      byte[] was = original.get(i);
      byte[] they = theirs.get(i);
      byte[] we = ours.get(i);
      for (int at = 0; at + SECTOR <= Math.min(was.length, they.length); at += SECTOR) {
        if (Arrays.equals(was, at, at + SECTOR, they, at, at + SECTOR)) {
          boolean kept =
              we.length >= at + SECTOR && Arrays.equals(was, at, at + SECTOR, we, at, at + SECTOR);
          assertThat(kept).as("disk %d: the sector at %d, which QEMU kept", i, at).isTrue();
        }
      }
    }
  }
}
