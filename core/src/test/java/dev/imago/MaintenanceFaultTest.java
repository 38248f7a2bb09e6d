package dev.imago;

import static org.assertj.core.api.Assertions.assertThat;

import dev.imago.image.CheckResult;
import dev.imago.image.Image;
import dev.imago.image.Progress;
import dev.imago.image.ReferenceOpener;
import dev.imago.image.References;
import dev.imago.qcow2.Qcow2;
import dev.imago.qcow2.Qcow2AmendOptions;
import dev.imago.qcow2.Qcow2OpenOptions;
import dev.imago.storage.FileStorage;
import dev.imago.storage.Storage;
import dev.imago.testing.FaultyStorage;
import dev.imago.testing.StorageCall;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/**
 * A disk fails or runs full in the middle of a rebase, a commit or an amend: the error is named,
 * the guest sees the same, the right backing file is named, nothing is corrupt, and what was begun
 * can be done again.
 */
class MaintenanceFaultTest {
  private static final boolean LONG = Boolean.getBoolean("imago.long");
  private static final int SEEDS = LONG ? 12 : 1;
  private static final int FAULTS = LONG ? 40 : 12;
  private static final int SIZE = 256 << 10;

  @TempDir private Path folder;

  /** What is done. */
  private enum Work {
    REBASE,
    REBASE_COMPRESSED,
    REBASE_ONTO_NOTHING,
    COMMIT,
    AMEND_WIDTH,
    AMEND_VERSION
  }

  /** Faulty files by name; those that nothing was told of work. */
  private final class Machine implements ReferenceOpener {
    private final Map<String, FaultyStorage> storages = new HashMap<>();
    private final boolean baseWritable;

    Machine(boolean baseWritable) {
      this.baseWritable = baseWritable;
    }

    Image top() throws IOException {
      return open("top", true);
    }

    Image open(String name, boolean writable) throws IOException {
      FaultyStorage storage =
          new FaultyStorage(FileStorage.open(file(name), FileStorage.Options.readWrite()));
      storages.put(name, storage);
      return Qcow2.open(storage, Qcow2OpenOptions.defaults().withWritable(writable), this);
    }

    @Override
    public Image openBacking(String name, @Nullable String format) throws IOException {
      return open(name, baseWritable);
    }

    @Override
    public Storage openDataFile(String name, boolean writable) throws IOException {
      throw new IOException("no data files here");
    }
  }

  /** Something that goes wrong from now on. */
  private interface Fault {
    void strike(FaultyStorage storage) throws IOException;
  }

  private Path file(String name) {
    return folder.resolve(name);
  }

  private void layer(String name, SplittableRandom random, @Nullable String backing)
      throws IOException {
    CreateOptions options =
        CreateOptions.of("qcow2", SIZE).clusterSize(random.nextBoolean() ? 512 : 4096);
    try (Image image =
        Disks.created(file(name), backing == null ? options : options.backing(backing, "qcow2"))) {
      for (int i = 0; i < 10; i++) {
        long at = random.nextLong(image.size());
        byte[] bytes = new byte[(int) Math.min(1 + random.nextInt(20_000), image.size() - at)];
        if (random.nextInt(3) == 0) {
          image.writeZeroes(at, bytes.length, true, false);
        } else {
          random.nextBytes(bytes);
          image.write(ByteBuffer.wrap(bytes), at);
        }
      }
    }
  }

  private void keep(String from, String to) throws IOException {
    for (String name : List.of("base", "other", "top")) {
      Files.createDirectories(file("kept"));
      Files.copy(
          folder.resolve(from).resolve(name),
          folder.resolve(to).resolve(name),
          StandardCopyOption.REPLACE_EXISTING);
    }
  }

  private static void run(Work work, Machine machine, Image top) throws IOException {
    switch (work) {
      case REBASE, REBASE_COMPRESSED -> {
        try (Image other = machine.open("other", false)) {
          Rebase.onto("other", "qcow2")
              .compressed(work == Work.REBASE_COMPRESSED)
              .parallelism(1)
              .rebase(top, other);
        }
      }
      case REBASE_ONTO_NOTHING -> Rebase.ontoNothing().parallelism(1).rebase(top, null);
      case COMMIT -> Commit.of(Path.of("top")).parallelism(1).commit(top, 1);
      case AMEND_WIDTH ->
          Qcow2.amend(top, Qcow2AmendOptions.NOTHING.withRefcountBits(64), Progress.NONE);
      case AMEND_VERSION ->
          Qcow2.amend(top, Qcow2AmendOptions.NOTHING.withVersion(2), Progress.NONE);
    }
  }

  @ParameterizedTest
  @EnumSource
  void theGuestSeesTheSameAndItCanBeDoneAgain(Work work) throws Exception {
    int failed = 0;
    for (long seed = 1; seed <= SEEDS; seed++) {
      SplittableRandom random = new SplittableRandom(seed);
      layer("base", random, null);
      layer("other", random, null);
      layer("top", random, "base");
      keep(".", "kept");
      byte[] shown = Disks.read(file("top"));
      for (Map.Entry<String, Fault> fault : faults(work, random)) {
        keep("kept", ".");
        try {
          failed += fail(work, fault, shown) ? 1 : 0;
        } catch (AssertionError | IOException | RuntimeException e) {
          throw new AssertionError(
              "%s, seed %d, %s: %s".formatted(work, seed, fault.getKey(), e), e);
        }
      }
    }
    System.out.printf("%s: %d failures%n", work, failed);
    assertThat(failed).isGreaterThan(FAULTS / 2);
  }

  /** Faults at calls that a run without any makes, by "storage: what happens". */
  private List<Map.Entry<String, Fault>> faults(Work work, SplittableRandom random)
      throws IOException {
    Machine machine = new Machine(work == Work.COMMIT);
    try (Image top = machine.top()) {
      run(work, machine, top);
    }
    List<Map.Entry<String, Fault>> faults = new ArrayList<>();
    List<String> victims = work == Work.COMMIT ? List.of("top", "base") : List.of("top");
    for (int i = 0; i < FAULTS; i++) {
      String victim = victims.get(i % victims.size());
      FaultyStorage storage = machine.storages.get(victim);
      int kind = random.nextInt(4);
      StorageCall call = kind == 0 ? StorageCall.FLUSH : StorageCall.WRITE;
      long number = 1 + random.nextLong(Math.max(1, storage.calls(call)));
      faults.add(
          switch (kind) {
            case 0, 1 ->
                Map.entry(
                    victim + ": " + call + " " + number,
                    faulty -> faulty.failNth(call, number + faulty.calls(call)));
            case 2 ->
                Map.entry(
                    victim + ": half of " + call + " " + number,
                    faulty -> {
                      long before = faulty.calls(call);
                      // The header's first sector is written whole or not at all.
                      faulty.cutShortWhen(
                          r ->
                              r.call() == call
                                  && r.number() == number + before
                                  && r.hostOffset() >= 512);
                    });
            default -> {
              long room = random.nextLong(48) << 10;
              yield Map.entry(victim + ": full after " + room, faulty -> faulty.fullAfter(room));
            }
          });
    }
    return faults;
  }

  /** Returns whether the fault was met. */
  private boolean fail(Work work, Map.Entry<String, Fault> fault, byte[] shown) throws IOException {
    Machine machine = new Machine(work == Work.COMMIT);
    String victim = fault.getKey().substring(0, fault.getKey().indexOf(':'));
    IOException failure = null;
    try (Image top = machine.top()) {
      fault.getValue().strike(machine.storages.get(victim));
      run(work, machine, top);
    } catch (IOException e) {
      failure = e;
    }
    assertGood(shown);
    if (failure == null) {
      return false;
    }
    assertThat(failure.getMessage()).containsAnyOf("Input/output error", "No space left");
    String named = Images.inspect(file("top")).backingFile();
    if (failure instanceof RebaseException e && e.step() == RebaseException.Step.COPYING) {
      assertThat(named).isEqualTo("base");
    }
    if (failure instanceof ConvertException e) {
      assertThat(e.writing()).isTrue();
    }
    if ("base".equals(named)) {
      Machine healthy = new Machine(work == Work.COMMIT);
      try (Image top = healthy.top()) {
        run(work, healthy, top);
      }
      assertGood(shown);
    }
    return true;
  }

  private void assertGood(byte[] shown) throws IOException {
    assertThat(Arrays.equals(Disks.read(file("top")), shown)).as("what the guest sees").isTrue();
    for (String name : List.of("base", "top")) {
      CheckResult found = Images.check(file(name), "qcow2", false, Progress.NONE);
      assertThat(found.corruptions() + found.checkErrors())
          .as("%s: %s", name, found.findings())
          .isZero();
    }
  }

  /** Compressed data stands where it was copied, and only there. */
  @Test
  void aCompressingRebaseCompressesWhatItCopies() throws Exception {
    try (Image image = Disks.created(file("base"), CreateOptions.of("qcow2", 1 << 20))) {
      byte[] text = new byte[600 << 10];
      for (int i = 0; i < text.length; i++) {
        text[i] = (byte) (i / 100);
      }
      image.write(ByteBuffer.wrap(text), 100);
    }
    Images.create(file("top"), CreateOptions.of("qcow2", (1 << 20) - 512).backing("base", "qcow2"));
    byte[] shown = Disks.read(file("top"));

    Rebase.ontoNothing()
        .compressed(true)
        .options(OpenOptions.of(References.sameFolder()))
        .run(file("top"));

    assertThat(Arrays.equals(Disks.read(file("top")), shown)).isTrue();
    assertThat(Files.size(file("top"))).isLessThan(400 << 10);
    dev.imago.testing.Qemu.check(file("top")).clean();
    assertThat(Arrays.equals(dev.imago.testing.Qemu.read(file("top"), file("raw")), shown))
        .isTrue();
  }
}
