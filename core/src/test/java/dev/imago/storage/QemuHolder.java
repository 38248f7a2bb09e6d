package dev.imago.storage;

import java.io.BufferedReader;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/** A real {@code qemu-io} that keeps an image open until it is closed. */
final class QemuHolder implements AutoCloseable {
  private final Process process;

  private QemuHolder(Process process) {
    this.process = process;
  }

  /** Starts it, and comes back when the image is open. */
  static QemuHolder open(Path image, String... options) throws IOException {
    List<String> command = new ArrayList<>(List.of("qemu-io"));
    command.addAll(Arrays.asList(options));
    command.add(image.toString());
    Process process = new ProcessBuilder(command).redirectErrorStream(true).start();
    process.getOutputStream().write("length\n".getBytes(StandardCharsets.US_ASCII));
    process.getOutputStream().flush();
    BufferedReader out = process.inputReader();
    String answer = out.readLine();
    if (answer == null || !answer.contains("iB")) {
      process.destroy();
      throw new AssertionError("qemu-io said: " + answer);
    }
    return new QemuHolder(process);
  }

  @Override
  public void close() throws IOException {
    process.getOutputStream().close();
    boolean interrupted = false;
    while (process.isAlive()) {
      try {
        process.waitFor();
      } catch (InterruptedException e) {
        interrupted = true;
      }
    }
    if (interrupted) {
      Thread.currentThread().interrupt();
    }
  }
}
