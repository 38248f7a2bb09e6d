package dev.imago.image;

import static org.assertj.core.api.Assertions.assertThat;

import dev.imago.Images;
import dev.imago.storage.Storage;
import dev.imago.testing.Qemu;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class FileHolesTest {
  private static final int CLUSTER = 64 << 10;
  private static final int SIZE = 16 << 20;

  @TempDir private Path folder;

  @Test
  void whatWasPreallocatedAndNeverWrittenIsAHole() throws Exception {
    Path file = folder.resolve("image.qcow2");
    Qemu.img("create", "-q", "-f", "qcow2", "-o", "preallocation=metadata", file, SIZE);
    Qemu.io(file, List.of("write 1M 64k"));
    try (Image image = Images.openReadOnly(file, References.deny())) {
      assertThat(runs(image, (1 << 20) - CLUSTER, 3))
          .containsExactly(
              new Storage.Run(false, CLUSTER),
              new Storage.Run(true, CLUSTER),
              new Storage.Run(false, SIZE - (1 << 20) - CLUSTER));
    }
  }

  @Test
  void aFileWithoutManyHolesIsNotAskedForThem() throws Exception {
    Path file = folder.resolve("image.qcow2");
    Qemu.img("create", "-q", "-f", "qcow2", file, SIZE);
    Qemu.io(file, List.of("write 0 1M", "write 1M 512"));
    try (Image image = Images.openReadOnly(file, References.deny())) {
      assertThat(runs(image, 0, 1)).containsExactly(new Storage.Run(true, (1 << 20) + CLUSTER));
    }
  }

  /** So many runs of data, which follow one another. */
  private static List<Storage.Run> runs(Image image, long guestOffset, int count) throws Exception {
    FileHoles holes = new FileHoles();
    Storage.Run[] runs = new Storage.Run[count];
    long at = guestOffset;
    for (int i = 0; i < count; i++) {
      Extent extent = image.resolve(at, image.size() - at);
      runs[i] = holes.run(extent.layer(), (Mapping.Data) extent.mapping());
      at += runs[i].length();
    }
    return List.of(runs);
  }
}
