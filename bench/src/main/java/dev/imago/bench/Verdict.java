package dev.imago.bench;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/** Whether both programs made the same of an input. These runs also warm the caches. */
final class Verdict {
  private Verdict() {}

  /**
   * Runs both and compares what they made: the images by {@code qemu-img compare}, else what they
   * printed, but for the time that a run of {@code bench} took.
   *
   * @param output whether they write an image, whose name is appended to the commands
   * @return a note for the reader, empty if all is the same
   */
  static String on(Path folder, Inputs inputs, List<String> qemu, List<String> imago, Made output)
      throws IOException {
    boolean image = output != Made.NOTHING;
    Path theirs = folder.resolve("target-qemu");
    Path ours = folder.resolve("target-imago");
    Path theirWords = folder.resolve("out-qemu");
    Path ourWords = folder.resolve("out-imago");
    try {
      inputs.begin(output, theirs);
      inputs.begin(output, ours);
      run(image ? with(qemu, theirs) : qemu, theirWords, folder);
      run(image ? with(imago, ours) : imago, ourWords, folder);
      if (image) {
        boolean file = output == Made.FILE;
        String format = file ? qemu.get(qemu.indexOf("-O") + 1) : "qcow2";
        List<String> compare = List.of("qemu-img", "compare", "-f", format, "-F", format);
        run(with(with(compare, theirs), ours), theirWords, folder);
        return "";
      }
      if (Files.mismatch(theirWords, ourWords) < 0) {
        return "";
      }
      return words(theirWords).equals(words(ourWords)) ? "" : "**prints something else**";
    } finally {
      for (Path path : List.of(theirs, ours, theirWords, ourWords)) {
        Files.deleteIfExists(path);
      }
    }
  }

  private static String words(Path file) throws IOException {
    return Files.readString(file).replaceAll("completed in [0-9.]+ seconds", "completed");
  }

  private static List<String> with(List<String> command, Path target) {
    List<String> words = new ArrayList<>(command);
    words.add(target.toString());
    return words;
  }

  private static void run(List<String> command, Path out, Path folder) throws IOException {
    Path err = folder.resolve("err");
    Child.Cost cost = Child.run(command, out, err);
    if (cost.exitCode() != 0) {
      throw new IOException(
          String.join(" ", command)
              + " ended with "
              + cost.exitCode()
              + ": "
              + Files.readString(err));
    }
  }
}
