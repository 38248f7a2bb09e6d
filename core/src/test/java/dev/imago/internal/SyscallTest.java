package dev.imago.internal;

import static org.assertj.core.api.Assertions.assertThat;

import dev.imago.storage.FileStorage;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class SyscallTest {
  private static final String FOREIGN = "dev.imago.internal.Syscall$Foreign";

  @TempDir Path folder;

  @Test
  void theLaunchersLibraryServesInPlaceOfForeignFunctions() throws Exception {
    Path library = folder.resolve("syscall.so");
    java(List.of(Path.of(System.getProperty("imago.root"), "build/SyscallLibrary.java"), library));

    String said = probe("-Dimago.syscalls=" + library);

    assertThat(said).contains("abcdefgh true false").contains("No such file or directory");
    boolean made = "amd64".equals(System.getProperty("os.arch"));
    assertThat(Files.exists(library)).isEqualTo(made);
    assertThat(said.contains(FOREIGN)).isEqualTo(!made);
  }

  @Test
  void withoutTheLibraryForeignFunctionsServe() throws Exception {
    String said = probe("-Dimago.syscalls=" + folder.resolve("missing.so"));

    assertThat(said).contains("abcdefgh true false").contains("No such file or directory");
    assertThat(said).contains(FOREIGN);
  }

  private String probe(String property) throws Exception {
    return java(
        List.of(
            property,
            "-Xlog:class+load",
            "--enable-native-access=ALL-UNNAMED",
            "-cp",
            location(Syscall.class) + ":" + location(SyscallTest.class),
            Probe.class.getName(),
            folder.resolve("file")));
  }

  private static Path location(Class<?> type) throws Exception {
    return Path.of(type.getResource(type.getSimpleName() + ".class").toURI())
        .resolve("../../../..");
  }

  private static String java(List<?> arguments) throws Exception {
    List<String> command = new ArrayList<>();
    command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
    arguments.forEach(argument -> command.add(argument.toString()));
    Process process = new ProcessBuilder(command).redirectErrorStream(true).start();
    String said = new String(process.getInputStream().readAllBytes());
    assertThat(process.waitFor()).as(said).isZero();
    return said;
  }

  /** Uses a file in a JVM of its own: all argument positions, small and vectored, and an error. */
  static final class Probe {
    public static void main(String[] args) throws IOException {
      Path path = Path.of(args[0]);
      try (FileStorage file = FileStorage.create(path, FileStorage.Options.readWrite())) {
        ByteBuffer[] parts = {direct("cdef"), direct("gh")};
        file.write(direct("ab"), 5L << 32);
        file.write(parts, (5L << 32) + 2);
        file.flush();
        ByteBuffer back = ByteBuffer.allocateDirect(8);
        file.read(back, 5L << 32);
        byte[] bytes = new byte[8];
        back.flip().get(bytes);
        System.out.println(
            new String(bytes)
                + " "
                + file.run(5L << 32, 8).data()
                + " "
                + file.run(0, 1 << 20).data());
      }
      try {
        FileStorage.open(path.resolveSibling("none"), FileStorage.Options.readOnly()).close();
      } catch (IOException e) {
        System.out.println(e.getMessage());
      }
    }

    private static ByteBuffer direct(String text) {
      return ByteBuffer.allocateDirect(text.length()).put(text.getBytes()).flip();
    }
  }
}
