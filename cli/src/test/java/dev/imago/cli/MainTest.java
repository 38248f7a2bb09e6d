package dev.imago.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class MainTest {
  @TempDir Path folder;

  private final ByteArrayOutputStream err = new ByteArrayOutputStream();
  private final PrintStream errors = new PrintStream(err, true, StandardCharsets.UTF_8);

  /** A disk that is full. */
  private final PrintStream full =
      new PrintStream(
          new OutputStream() {
            @Override
            public void write(int b) throws IOException {
              throw new IOException("No space left on device");
            }
          });

  private String image = "";

  @BeforeEach
  void makeImage() {
    image = folder.resolve("x").toString();
    var out = new PrintStream(OutputStream.nullOutputStream());
    assertEquals(0, Main.run(new String[] {"create", image, "1M"}, out, errors));
  }

  @Test
  void whatCouldNotBePrintedWasNotToldAndIsAnError() {
    for (String command : new String[] {"info", "inspect", "map"}) {
      err.reset();

      assertEquals(1, Main.run(new String[] {command, image}, full, errors));
      assertEquals(
          "imago: standard output: could not be written\n", err.toString(StandardCharsets.UTF_8));
    }
  }

  /** qemu-img waits for ever: nothing is in flight, so nothing ends. */
  @Test
  void benchWithoutAnyRequestInFlightIsRefused() {
    var out = new PrintStream(OutputStream.nullOutputStream());

    assertEquals(1, Main.run(new String[] {"bench", "-d", "0", image}, out, errors));
    assertEquals("imago: Invalid queue depth specified\n", err.toString(StandardCharsets.UTF_8));
  }

  @Test
  void whatWasDoneIsDoneEvenIfNobodyCouldBeTold() {
    String copy = folder.resolve("copy").toString();

    assertEquals(0, Main.run(new String[] {"convert", "-p", image, copy}, full, errors));
    assertTrue(folder.resolve("copy").toFile().length() == 1 << 20);
    assertEquals("", err.toString(StandardCharsets.UTF_8));
  }
}
