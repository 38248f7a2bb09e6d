package dev.imago.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.nio.file.Path;
import org.junit.jupiter.api.Test;

class FileNameTest {
  @Test
  void aColonBehindASlashBelongsToTheFile() throws Exception {
    assertEquals(Path.of("./a:b"), FileName.of("./a:b").path());
    assertEquals(Path.of("/x/nbd:y"), FileName.of("/x/nbd:y").path());
  }

  @Test
  void fileAndColonAreTakenOff() throws Exception {
    assertEquals(Path.of("a:b"), FileName.of("file:a:b").path());
    assertEquals("file:a", FileName.of("file:a").typed());
  }

  @Test
  void otherProtocolsAreUnknown() {
    assertEquals(
        "Unknown protocol 'nbd'",
        assertThrows(Failure.class, () -> FileName.of("nbd://host/x").path()).getMessage());
    assertEquals(
        "Unknown protocol 'json'",
        assertThrows(Failure.class, () -> FileName.of("json:{\"a\":1}").newPath()).getMessage());
  }

  @Test
  void aFileMustHaveAName() {
    assertEquals(
        "The 'file' block driver requires a file name",
        assertThrows(Failure.class, () -> FileName.of("").path()).getMessage());
    assertEquals(
        "Could not create '': No such file or directory",
        assertThrows(Failure.class, () -> FileName.of("").newPath()).getMessage());
  }
}
