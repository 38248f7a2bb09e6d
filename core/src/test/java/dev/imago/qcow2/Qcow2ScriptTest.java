package dev.imago.qcow2;

import static org.assertj.core.api.Assertions.assertThat;

import dev.imago.image.Image;
import dev.imago.image.ReferenceOpener;
import dev.imago.image.SyncMode;
import dev.imago.storage.FileStorage;
import dev.imago.storage.Storage;
import dev.imago.testing.ByteOracle;
import dev.imago.testing.Qemu;
import dev.imago.testing.Script;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** A guest's work on images made by qemu-img, judged by qemu-img. */
class Qcow2ScriptTest {
  private static final ReferenceOpener FILES =
      new ReferenceOpener() {
        @Override
        public Image openBacking(String name, @Nullable String format) {
          throw new AssertionError("no backing image here: " + name);
        }

        @Override
        public Storage openDataFile(String name, boolean writable) throws IOException {
          return FileStorage.open(
              Path.of(name),
              writable ? FileStorage.Options.readWrite() : FileStorage.Options.readOnly());
        }
      };

  @TempDir Path folder;

  @ParameterizedTest(name = "{0} {1} bit refcounts, {2}, caches of {3}, {4}")
  @CsvSource({
    "512, 16, 1.1, 4096, ''",
    "512, 64, 1.1, 2048, ''",
    "512, 1, 1.1, 2048, ''",
    "4096, 1, 1.1, 8192, ''",
    "4096, 16, 0.10, 16384, ''",
    "65536, 16, 1.1, 8192, ''",
    "65536, 64, 1.1, 1000000, ''",
    "65536, 2, 1.1, 8192, ''",
    "1024, 4, 1.1, 4096, ''",
    "8192, 8, 1.1, 8192, ''",
    "4096, 32, 1.1, 8192, ''",
    "2097152, 16, 1.1, 8192, ''",
    "65536, 16, 1.1, 8192, data",
    "4096, 16, 1.1, 8192, raw"
  })
  void whatAGuestDidIsThereAndCleanAfterClosing(
      int clusterSize, int refcountBits, String compat, long caches, String data) throws Exception {
    for (int seed = 1; seed <= 3; seed++) {
      Path file = folder.resolve("script" + seed + ".qcow2");
      String more = "";
      if (seed == 3 && compat.equals("1.1") && data.isEmpty()) {
        more = ",compression_type=zstd";
      }
      if (!data.isEmpty()) {
        more = ",data_file=" + folder.resolve("data" + seed);
        more += data.equals("raw") ? ",data_file_raw=on" : "";
      }
      Qemu.img(
          "create",
          "-f",
          "qcow2",
          "-o",
          "cluster_size=%d,refcount_bits=%d,compat=%s%s"
              .formatted(clusterSize, refcountBits, compat, more),
          file,
          3 * 1024 * 1024 + 512);
      ByteOracle oracle = new ByteOracle(3 * 1024 * 1024 + 512);
      Qcow2OpenOptions options =
          Qcow2OpenOptions.defaults()
              .withWritable(true)
              .withSync(SyncMode.NONE)
              .withCaches(caches, caches);
      Script script =
          new Script(
              seed,
              Script.Mix.USUAL
                  .with(Script.Op.GROW, 2)
                  .with(Script.Op.SHRINK, 1)
                  .with(Script.Op.REOPEN, 1)
                  .with(Script.Op.COMPRESS, data.isEmpty() ? 16 : 0),
              () ->
                  Qcow2.open(
                      FileStorage.open(file, FileStorage.Options.readWrite()), options, FILES),
              oracle,
              8 << 20);
      try {
        script.run(400);
        script.close();
      } catch (Throwable t) {
        throw new AssertionError("seed " + seed + ": " + script.log(), t);
      }
      assertThat(Qemu.img("check", file)).contains("No errors were found");
      byte[] seen = Qemu.read(file, folder.resolve("raw"));
      assertThat(seen).as("seed " + seed).isEqualTo(oracle.expected());
      Files.delete(file);
    }
  }
}
