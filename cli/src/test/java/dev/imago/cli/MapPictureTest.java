package dev.imago.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;

import dev.imago.CreateOptions;
import dev.imago.Images;
import dev.imago.OpenOptions;
import dev.imago.image.Image;
import dev.imago.image.References;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.PrintStream;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class MapPictureTest {
  private static final int CLUSTER = 64 << 10;

  @TempDir Path folder;
  private Path top;

  /** A base with data, a compressed cluster and zeroes; above it data in its second cluster. */
  @BeforeEach
  void makeChain() throws IOException {
    Path base = folder.resolve("base.qcow2");
    top = folder.resolve("top.qcow2");
    Images.create(base, CreateOptions.of("qcow2", 16 * CLUSTER));
    try (Image image = Images.open(base, OpenOptions.of(References.deny()).writable(true))) {
      image.write(ByteBuffer.allocate(2 * CLUSTER), 0);
      try (var run = image.compress(ByteBuffer.allocate(CLUSTER).put(0, (byte) 1), 3 * CLUSTER)) {
        run.write();
      }
      image.write(ByteBuffer.allocate(CLUSTER), 5 * CLUSTER);
      image.writeZeroes(5 * CLUSTER, CLUSTER, false, false);
    }
    Images.create(top, CreateOptions.of("qcow2", 16 * CLUSTER).backing("base.qcow2", "qcow2"));
    try (Image image = Images.open(top, OpenOptions.of(References.sameFolder()).writable(true))) {
      image.write(ByteBuffer.allocate(CLUSTER), CLUSTER);
    }
  }

  private static String draw(Path path, int columns, boolean colours) throws IOException {
    var out = new ByteArrayOutputStream();
    PrintStream stream = new PrintStream(out, true, StandardCharsets.UTF_8);
    InputStream nothing = InputStream.nullInputStream();
    Terminal terminal = new Terminal("imago", nothing, stream, stream, columns, new Secrets());
    try (Image image = Images.openReadOnly(path, References.sameFolder())) {
      new MapPicture(terminal, image, colours).draw();
    }
    stream.flush();
    return out.toString(StandardCharsets.UTF_8).replace(path.toString(), path.getFileName() + "");
  }

  @Test
  void eachKindOfBytesHasItsCharacter() throws Exception {
    assertEquals(
        """
        base.qcow2: 1 MiB, each character 64 KiB

               0 B  ##.c.-..........

           #    128 KiB   13%  data of this image
           c     64 KiB    6%  compressed data of this image
           -     64 KiB    6%  zeroes
           .    768 KiB   75%  not allocated: reads as zeroes
        """,
        draw(folder.resolve("base.qcow2"), 0, false));
  }

  @Test
  void dataOfBackingImagesIsADigit() throws Exception {
    assertEquals(
        """
        top.qcow2: 1 MiB, each character 64 KiB

               0 B  1#.1.-..
           512 KiB  ........

           #     64 KiB    6%  data of this image
         1-9    128 KiB   13%  data of a backing image, so many layers below (+: more than 9)
           -     64 KiB    6%  zeroes
           .    768 KiB   75%  not allocated: reads as zeroes
        """,
        draw(top, 21, false));
  }

  @Test
  void coloursAreSwitchedWhereTheKindChanges() throws Exception {
    assertEquals(
        "       0 B  \u001b[36m1\u001b[32m#\u001b[0m.\u001b[36m1\u001b[0m.\u001b[90m-\u001b[0m.."
            + "\u001b[0m",
        draw(top, 21, true).lines().skip(2).findFirst().orElseThrow());
  }

  @Test
  void aRunWithAnyDataDoesNotLookEmpty() throws Exception {
    Path huge = folder.resolve("huge.qcow2");
    Images.create(huge, CreateOptions.of("qcow2", 1L << 40));
    try (Image image = Images.open(huge, OpenOptions.of(References.deny()).writable(true))) {
      image.write(ByteBuffer.allocate(512), 700L << 30);
    }

    String picture = draw(huge, 80, false);

    assertEquals(1, picture.lines().limit(18).filter(line -> line.contains("#")).count(), picture);
  }

  @Test
  void anEmptyDiskHasNoPicture() throws Exception {
    Path nothing = folder.resolve("nothing.raw");
    Images.create(nothing, CreateOptions.of("raw", 0));

    assertEquals("nothing.raw: 0 B, each character 512 B\n\n", draw(nothing, 80, false));
  }
}
