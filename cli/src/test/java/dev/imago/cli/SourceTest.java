package dev.imago.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.util.Arrays;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class SourceTest {

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      nullValues = "-",
      value = {
        "driver=qcow2,file.filename=a,,b:c,encrypt.key-secret=s|a,b:c|qcow2|[s]",
        "file.driver=file,file.filename=x,encrypt.format=luks|x|-|[]",
        "driver=qcow2,file.filename=x,backing.backing.encrypt.key-secret=s|x|qcow2|[null, null, s]"
      })
  void listsOfOptionsNameAFileItsFormatAndKeys(String list, String file, String format, String keys)
      throws Exception {
    Source source = Source.of(list, true, null);

    assertEquals(list, source.name().typed());
    assertEquals(file, source.name().path().toString());
    assertEquals(format, source.format());
    assertEquals(keys, Arrays.toString(source.keys().toArray()));
  }

  @Test
  void aDriverThatIsNoFormatIsReadAsItIs() throws Exception {
    Source source = Source.of("driver=file,filename=x", true, null);

    assertEquals("raw", source.format());
    assertEquals("x", source.name().place().toString());
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "x.qcow2|Cannot find device='x.qcow2' nor node-name='x.qcow2'",
        "filename=x|Must specify either driver or file",
        "driver=qcow2|A block device must be specified for \"file\"",
        "driver=qcow2,file.driver=file|The 'file' block driver requires a file name",
        "driver=qcow2,file.driver=bogus,file.filename=x|Unknown driver 'bogus'",
        "driver=qcow2,file.filename=x,lazy-refcounts=x|"
            + "Parameter 'lazy-refcounts' expects 'on' or 'off'",
        "driver=raw,file.filename=x,lazy-refcounts=on|"
            + "Block format 'raw' does not support the option 'lazy-refcounts'"
      })
  void mistakesAreSaid(String list, String message) {
    assertEquals(
        "Could not open '" + list + "': " + message,
        assertThrows(Failure.class, () -> Source.of(list, true, null)).getMessage());
  }

  @Test
  void countsAreLateAsTheImageOrTheListSays() throws Exception {
    assertNull(Source.of("driver=qcow2,file.filename=x", true, null).lazyRefcounts());
    Source on = Source.of("driver=qcow2,file.filename=x,lazy-refcounts=on", true, null);
    assertEquals(true, on.options(new Secrets()).lazyRefcounts());
    Source off = Source.of("driver=qcow2,file.filename=x,lazy-refcounts=off", true, null);
    assertEquals(false, off.options(new Secrets()).lazyRefcounts());
  }

  @Test
  void aFormatIsSaidOnceAndSecretsMustExist() throws Exception {
    assertEquals(
        "--image-opts and --format are mutually exclusive",
        assertThrows(Failure.class, () -> Source.of("driver=raw", true, "raw")).getMessage());
    Source source = Source.of("driver=qcow2,file.filename=x,encrypt.key-secret=s", true, null);
    assertEquals(
        "Could not open 'driver=qcow2,file.filename=x,encrypt.key-secret=s': No secret with id 's'",
        assertThrows(Failure.class, () -> source.options(new Secrets())).getMessage());
  }
}
