package dev.imago.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** What GNU getopt_long makes of the same command lines was recorded once (docs/decisions/0030). */
class GetOptTest {
  private static final Option[] OPTIONS = {
    Option.flag('h', "help"),
    Option.value('f'),
    Option.value('o'),
    Option.flag('p'),
    Option.flag('q'),
    Option.value('m'),
    Option.flag('U', "force-share"),
    Option.value("output"),
    Option.value("object"),
    Option.flag("backing-chain")
  };

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      emptyValue = "",
      value = {
        "-fqcow2 x                 | f=qcow2 | x",
        "-f qcow2 x                | f=qcow2 | x",
        "-f=raw x                  | f==raw | x",
        "-ocluster_size=4k x       | o=cluster_size=4k | x",
        "-o a=1 -ob=2 x            | o=a=1 o=b=2 | x",
        "-f -U x                   | f=-U | x",
        "-o -- x                   | o=-- | x",
        "-o -x y                   | o=-x | y",
        "-m16 x                    | m=16 | x",
        "-pq x                     | p= q= | x",
        "-pfqcow2 x                | p= f=qcow2 | x",
        "-pf qcow2 x               | p= f=qcow2 | x",
        "-Up x                     | force-share= p= | x",
        "-output json x            | o=utput | json x",
        "--output json x           | output=json | x",
        "--output=json x           | output=json | x",
        "--output= x               | output= | x",
        "--output=a=b x            | output=a=b | x",
        "--out json x              | output=json | x",
        "--back x                  | backing-chain= | x",
        "--force-share x           | force-share= | x",
        "x -f raw                  | f=raw | x",
        "x -f raw y -p             | f=raw p= | x y",
        "x -- --bogus              | '' | x --bogus",
        "-- -file                  | '' | -file",
        "-                         | '' | -",
        "-f a -f b x               | f=a f=b | x",
      })
  void readsWhatGetoptReads(String line, String options, String operands) throws Exception {
    GetOpt getopt = new GetOpt(line.split(" +"), 0, true, OPTIONS);
    StringBuilder found = new StringBuilder();
    for (String name = getopt.next(); name != null; name = getopt.next()) {
      found.append(name).append('=').append(getopt.value()).append(' ');
    }

    assertEquals(options, found.toString().strip());
    assertEquals(operands, String.join(" ", getopt.operands()));
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "--bogus              | unrecognized option '--bogus'",
        "-Z                   | unrecognized option '-Z'",
        "-pZ                  | unrecognized option '-pZ'",
        "x -1                 | unrecognized option '-1'",
        "--backing-chain=x    | unrecognized option '--backing-chain=x'",
        "--o x                | unrecognized option '--o'",
        "--f raw x -Z         | unrecognized option '-Z'",
        "-U=                  | unrecognized option '-U='",
        "-backing-chain       | unrecognized option '-backing-chain'",
        "-f                   | missing argument for option '-f'",
        "-pf                  | missing argument for option '-pf'",
        "--output             | missing argument for option '--output'",
        "--outp               | missing argument for option '--outp'",
      })
  void refusesWhatGetoptRefuses(String line, String message) {
    GetOpt getopt = new GetOpt(line.split(" +"), 0, true, OPTIONS);

    var e =
        assertThrows(
            UsageException.class,
            () -> {
              while (getopt.next() != null) {}
            });

    assertEquals(message, e.getMessage());
  }

  @Test
  void anEmptyArgumentIsAnOperandOrAValue() throws Exception {
    GetOpt getopt = new GetOpt(new String[] {"-o", "", ""}, 0, true, OPTIONS);

    assertEquals("o", getopt.next());
    assertEquals("", getopt.value());
    assertEquals(null, getopt.next());
    assertEquals(1, getopt.operands().size());
  }

  @Test
  void stopsAtTheCommandIfAsked() throws Exception {
    GetOpt getopt = new GetOpt(new String[] {"-h", "info", "--bogus"}, 0, false, OPTIONS);

    assertEquals("help", getopt.next());
    assertEquals(null, getopt.next());
    assertEquals("info --bogus", String.join(" ", getopt.operands()));
  }

  @Test
  void exactlyOneFileIsExpected() throws Exception {
    GetOpt two = new GetOpt(new String[] {"a", "b"}, 0, true, OPTIONS);
    two.next();

    assertEquals(
        "Expecting one image file name",
        assertThrows(UsageException.class, two::onlyFile).getMessage());
  }
}
